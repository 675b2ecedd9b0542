//! What a client speaks on top of HTTP, which says how a failure has to look.

use http::header::{CONTENT_TYPE, HeaderMap};
use http::{Method, Version};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Plain HTTP.
    #[default]
    Http,
    /// gRPC, which is on HTTP/2 alone.
    Grpc,
    /// gRPC-Web with bytes.
    GrpcWeb,
    /// gRPC-Web with base64.
    GrpcWebText,
}

/// Longer beginnings first.
const TYPES: [(&str, Wire); 3] = [
    ("application/grpc-web-text", Wire::GrpcWebText),
    ("application/grpc-web", Wire::GrpcWeb),
    ("application/grpc", Wire::Grpc),
];

impl Wire {
    /// By the head of a request.
    #[must_use]
    pub fn of(method: &Method, version: Version, headers: &HeaderMap) -> Self {
        // Calls are `POST`: other requests are not looked at any further.
        if *method != Method::POST {
            return Self::Http;
        }
        let value = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        match Self::parse(value) {
            Some((Self::Grpc, _)) if version != Version::HTTP_2 => Self::Http,
            Some((wire, _)) => wire,
            None => Self::Http,
        }
    }

    /// The wire of a content type, and what follows its name: `+proto`, parameters, or nothing.
    #[must_use]
    pub fn parse(content_type: &[u8]) -> Option<(Self, &[u8])> {
        TYPES.iter().find_map(|(name, wire)| {
            let (beginning, rest) = content_type.split_at_checked(name.len())?;
            let whole = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
            (beginning.eq_ignore_ascii_case(name.as_bytes()) && whole).then_some((*wire, rest))
        })
    }

    /// The content type of its answers, without what may follow.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        TYPES.iter().find(|(_, wire)| *wire == self).map_or("application/grpc", |(name, _)| name)
    }

    /// Trailers stand in the body.
    #[must_use]
    pub fn is_web(self) -> bool {
        matches!(self, Self::GrpcWeb | Self::GrpcWebText)
    }

    /// Any kind of gRPC.
    #[must_use]
    pub fn is_grpc(self) -> bool {
        self != Self::Http
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_say_what_a_client_speaks() {
        for (text, wire, rest) in [
            ("application/grpc", Wire::Grpc, ""),
            ("application/grpc+proto", Wire::Grpc, "+proto"),
            ("Application/GRPC;x=y", Wire::Grpc, ";x=y"),
            ("application/grpc-web", Wire::GrpcWeb, ""),
            ("application/grpc-web+json", Wire::GrpcWeb, "+json"),
            ("application/grpc-web-text+proto", Wire::GrpcWebText, "+proto"),
        ] {
            assert_eq!(Wire::parse(text.as_bytes()), Some((wire, rest.as_bytes())), "{text}");
        }
        for text in ["", "application/grpcx", "application/grpc-", "application/grpc-webx", "application/json"] {
            assert_eq!(Wire::parse(text.as_bytes()), None, "{text}");
        }
    }
}
