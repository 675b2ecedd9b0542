//! The gateway from end to end: real sockets, scripted backends and clients. One module per feature; no module depends
//! on another's order.

mod deadlines;
mod errors;
mod metadata;
mod refusals;
mod streams;
mod unary;
mod uploads;
