//! `auth`: who is who. What routes demand of it is a policy.

use crate::decode::{Item, Name, Table, Text, Time, closed_enum, raw_struct};
use crate::valid::ProviderType;

raw_struct! {
    /// Who is who: credentials, roles, and what backends are told of it. What a route demands is the policy `auth` or
    /// `auth_required`.
    RawAuth {
        /// Providers for routes that need a credential and name none.
        default: Vec<Item<Name>> = "[]",
        /// Kinds of credentials by name.
        providers: Table<RawProvider>,
        /// What backends are told, as in `{ x-user-id: sub }`: a header, or gRPC metadata, and the claim whose value it
        /// has. `id` and `sub` are the subject of any credential, `roles` its roles with all that they include. Headers
        /// of these names never pass from a client to a backend, whatever the route.
        forward: Table<Text>,
        /// Roles and the roles that each includes, as in `{ admin: [operator], operator: [viewer], viewer: [] }`.
        roles: Table<Vec<Item<Name>>>,
    }
}

raw_struct! {
    /// A kind of credential, and how it is checked.
    RawProvider {
        /// `jwt` is a signed token, `api_key` a shared secret, `mtls` the client's certificate, which its listener has
        /// verified.
        type_: ProviderType = required,
        /// `jwt`: the one issuer (`iss`) that is accepted. Without the key: any.
        issuer: Text,
        /// `jwt`: the token must be for one of these (`aud`). Without the key: for anybody.
        audience: Vec<Item<Text>>,
        /// `jwt`: signature algorithms: `HS256` to `HS512` with `secret`, else `RS`, `PS` and `ES` with 256 to 512, and
        /// `EdDSA`.
        algorithms: Vec<Item<Text>>,
        /// `jwt`: the secret of `HS` algorithms, at least 32 bytes.
        secret: Text,
        /// `jwt`: accepts a shorter secret: for development.
        weak_secret: bool = "false",
        /// `jwt`: PEM file with the public key, or several.
        public_key: Text,
        /// `jwt`: key set (RFC 7517): an `https://` URL, or a file, which is watched.
        jwks: Text,
        /// `jwt`: finds the key set by the issuer's `/.well-known/openid-configuration`.
        discovery: bool = "false",
        /// `jwt`: PEM file with the roots to trust where keys are fetched. Without the key: those of the system.
        ca: Text,
        /// `jwt`: how far clocks may differ.
        leeway: Time = "30s",
        /// `jwt`: what the header must have as `typ`, as in `at+jwt`. Without the key: anything.
        typ: Text,
        /// `jwt`: where roles stand, as a dotted path: a list, or words with spaces between them.
        roles_claim: Text = "roles",
        /// `jwt`: where scopes stand, in the same way. Without the key: `scope`, else `scp`.
        scopes_claim: Text,
        /// `jwt`: where the token is looked for, in this order: `header` (`Authorization: Bearer`), `header:NAME`,
        /// `cookie:NAME`, and for WebSockets alone `query:NAME`.
        token_from: Vec<Item<Text>> = "[header]",
        /// Whether backends get to see the credential itself.
        forward_token: bool = "true",
        /// `api_key`: the header that holds the key.
        header: Text = "x-api-key",
        /// `api_key`: the query key that holds it, instead of a header.
        query: Text,
        /// `api_key`: keys by the SHA-256 of each, as 64 hexadecimal digits.
        keys: Table<RawApiKey>,
        /// `api_key`: JSON file with more of them, in the form of `keys`; it is watched.
        keys_file: Text,
        /// `mtls`: certificates that are accepted. Without the key: all that the listener's `client_ca` has signed.
        certificates: Vec<Item<RawCertificate>>,
    }
}

raw_struct! {
    /// Who holds an API key.
    RawApiKey {
        /// Who it is; shown in logs, never the key itself.
        id: Text = required,
        /// Roles.
        roles: Vec<Item<Name>> = "[]",
        /// Scopes.
        scopes: Vec<Item<Text>> = "[]",
    }
}

raw_struct! {
    /// Who shows a certificate.
    RawCertificate {
        /// An alternative name of the certificate: `spiffe://example.com/orders`, another URI, or a DNS name.
        name: Text = required,
        /// Who it is. Without the key: the name.
        id: Text,
        /// Roles.
        roles: Vec<Item<Name>> = "[]",
        /// Scopes.
        scopes: Vec<Item<Text>> = "[]",
    }
}

raw_struct! {
    /// What a route demands of whoever asks. With this key a credential is needed.
    RawRouteAuth {
        /// Providers whose credentials are accepted; one is enough. Without the key: `auth.default`.
        providers: Vec<Item<Name>>,
        /// Who is let in. Without the key: everybody with a credential.
        allow: RawAllow,
        /// The same for single methods, as in `{ DELETE: { roles: [admin] } }`, in place of `allow`. `HEAD` has the rules
        /// of `GET`.
        methods: Table<RawAllow>,
    }
}

raw_struct! {
    /// Who is let in: whoever meets all of these.
    RawAllow {
        /// One of these roles, or one that includes it.
        roles: Vec<Item<Name>>,
        /// All of these scopes.
        scopes: Vec<Item<Text>>,
        /// All of these claims, as in `{ tenant: acme }`: a text, number or boolean that is equal, or a list that has it.
        claims: Table<Text>,
    }
}

closed_enum! {
    ProviderType {
        "jwt" => Self::Jwt,
        "api_key" => Self::ApiKey,
        "mtls" => Self::Mtls,
    }
}
