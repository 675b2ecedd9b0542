//! The gRPC status codes and the tables between them and HTTP.
//!
//! Source: gRPC "Statuscodes", "HTTP to gRPC Status Code Mapping", and the comments of `google/rpc/code.proto`.

/// A gRPC status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Code {
    /// Not an error.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// Anything that is not known better, a missing or unreadable status too.
    Unknown = 2,
    /// The request is wrong, whatever the state of the system.
    InvalidArgument = 3,
    /// Too late.
    DeadlineExceeded = 4,
    /// No such entity.
    NotFound = 5,
    /// The entity that was to be created is there.
    AlreadyExists = 6,
    /// The caller may not do this.
    PermissionDenied = 7,
    /// Some quota or space is used up.
    ResourceExhausted = 8,
    /// The system is not in the state that the call needs.
    FailedPrecondition = 9,
    /// A conflict, such as a transaction that lost.
    Aborted = 10,
    /// Past the valid range.
    OutOfRange = 11,
    /// The method does not exist or is not enabled.
    Unimplemented = 12,
    /// An invariant is broken.
    Internal = 13,
    /// Not at the moment; a retry may help.
    Unavailable = 14,
    /// Data is lost or corrupted.
    DataLoss = 15,
    /// No valid credentials.
    Unauthenticated = 16,
}

/// One row per code, in order: the code, its name in `google.rpc.Code`, the HTTP status of its error answer.
const TABLE: [(Code, &str, u16); 17] = [
    (Code::Ok, "OK", 200),
    (Code::Cancelled, "CANCELLED", 499),
    (Code::Unknown, "UNKNOWN", 500),
    (Code::InvalidArgument, "INVALID_ARGUMENT", 400),
    (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", 504),
    (Code::NotFound, "NOT_FOUND", 404),
    (Code::AlreadyExists, "ALREADY_EXISTS", 409),
    (Code::PermissionDenied, "PERMISSION_DENIED", 403),
    (Code::ResourceExhausted, "RESOURCE_EXHAUSTED", 429),
    (Code::FailedPrecondition, "FAILED_PRECONDITION", 400),
    (Code::Aborted, "ABORTED", 409),
    (Code::OutOfRange, "OUT_OF_RANGE", 400),
    (Code::Unimplemented, "UNIMPLEMENTED", 501),
    (Code::Internal, "INTERNAL", 500),
    (Code::Unavailable, "UNAVAILABLE", 503),
    (Code::DataLoss, "DATA_LOSS", 500),
    (Code::Unauthenticated, "UNAUTHENTICATED", 401),
];

impl Code {
    /// All codes in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The code with this number, 0 to 16.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let row = TABLE.get(usize::try_from(number).ok()?)?;
        Some(row.0)
    }

    /// The code with this name, in capitals as in `google.rpc.Code`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The code in the value of a `grpc-status` header or trailer; `None` stands for a missing one.
    ///
    /// Everything but a decimal number of at most two digits from 0 to 16 is `Unknown`: an answer whose status cannot
    /// be read must never count as a success.
    #[must_use]
    pub fn from_grpc_status(value: Option<&[u8]>) -> Self {
        let number = match value {
            Some([digit @ b'0'..=b'9']) => digit & 0x0f,
            Some([b'1', digit @ b'0'..=b'6']) => 10 + (digit & 0x0f),
            _ => return Self::Unknown,
        };
        Self::from_number(number.into()).unwrap_or(Self::Unknown)
    }

    /// The code of an answer that is HTTP but not gRPC, from its HTTP status. 200 is `Unknown` as well: it came without
    /// a gRPC status.
    #[must_use]
    pub fn from_http_status(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// The number on the wire, 0 to 16.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name in capitals, as in `google.rpc.Code`.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE.get(usize::from(self.number())).map_or("UNKNOWN", |row| row.1)
    }

    /// The HTTP status of an answer that fails with this code; 200 for `Ok`. A route may map it otherwise.
    #[must_use]
    pub fn http_status(self) -> u16 {
        TABLE.get(usize::from(self.number())).map_or(500, |row| row.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_numbers() {
        for (number, row) in TABLE.iter().enumerate() {
            assert_eq!(usize::from(row.0.number()), number);
            assert_eq!(Code::from_name(row.1), Some(row.0));
            assert_eq!((row.0.name(), row.0.http_status()), (row.1, row.2));
        }
        assert_eq!(Code::from_number(17), None);
        assert_eq!(Code::from_name("ok"), None);
    }

    #[test]
    fn a_status_that_cannot_be_read_is_unknown() {
        let cases: [(Option<&[u8]>, Code); 12] = [
            (Some(b"0"), Code::Ok),
            (Some(b"5"), Code::NotFound),
            (Some(b"9"), Code::FailedPrecondition),
            (Some(b"10"), Code::Aborted),
            (Some(b"16"), Code::Unauthenticated),
            (Some(b"17"), Code::Unknown),
            (Some(b"00"), Code::Unknown),
            (Some(b"-1"), Code::Unknown),
            (Some(b" 0"), Code::Unknown),
            (Some(b"abc"), Code::Unknown),
            (Some(b""), Code::Unknown),
            (None, Code::Unknown),
        ];
        for (value, code) in cases {
            assert_eq!(Code::from_grpc_status(value), code, "{value:?}");
        }
    }

    #[test]
    fn plain_http_answers_by_the_grpc_table() {
        let cases = [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (502, 14),
            (503, 14),
            (504, 14),
            (200, 2),
            (301, 2),
            (418, 2),
            (500, 2),
        ];
        for (http, number) in cases {
            assert_eq!(Code::from_http_status(http).number(), number, "{http}");
        }
    }
}
