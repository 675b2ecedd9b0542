//! JSON Web Tokens as an edge has to read them.
