//! What a client takes: `Accept-Encoding` (RFC 9110, section 12.5.3).

use http::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};

/// A coding of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

/// In the order in which they are preferred where a client has no preference: the least work for the fewest bytes comes first.
const CODINGS: [(&[u8], Coding); 3] = [(b"zstd", Coding::Zstd), (b"br", Coding::Brotli), (b"gzip", Coding::Gzip)];

/// Members of the list that are looked at. More of them come from nobody who means it.
const MAX_MEMBERS: usize = 32;

impl Coding {
    /// As `Content-Encoding` names it.
    #[must_use]
    pub fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        })
    }
}

/// What an answer may be sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The best one that the client takes and we have.
    pub coding: Option<Coding>,
    /// It may be left as it is.
    pub identity: bool,
}

/// Weights in thousandths; `None`: not named.
#[derive(Default)]
struct Weights {
    codings: [Option<u16>; CODINGS.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

pub(super) fn negotiate(headers: &HeaderMap) -> Taken {
    let mut weights = Weights::default();
    let values = headers.get_all(ACCEPT_ENCODING).iter().map(HeaderValue::as_bytes);
    let members = values.flat_map(|value| value.split(|byte| *byte == b','));
    for member in members.take(MAX_MEMBERS) {
        weights.read(member);
    }
    weights.best()
}

impl Weights {
    /// One member of the list. One that cannot be read is not there.
    fn read(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        // An old name (RFC 9110, section 8.4.1.3).
        let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name };
        let Some(weight) = weight(parts.next()) else { return };
        if name == b"*" {
            self.any = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            self.identity = Some(weight);
        } else if let Some(place) = CODINGS.iter().position(|(known, _)| name.eq_ignore_ascii_case(known))
            && let Some(slot) = self.codings.get_mut(place)
        {
            *slot = Some(weight);
        }
    }

    fn best(&self) -> Taken {
        let mut best = None;
        let mut most = 0;
        for ((_, coding), named) in CODINGS.iter().zip(self.codings) {
            let weight = named.or(self.any).unwrap_or(0);
            if weight > most {
                (best, most) = (Some(*coding), weight);
            }
        }
        // Not named it is as good as nothing, but never refused; `*` is for what is not named, but leaves it as it is
        // unless it says no.
        let identity = self.identity.or(self.any.filter(|weight| *weight == 0));
        let coding = best.filter(|_| self.identity.is_none_or(|as_it_is| most >= as_it_is));
        Taken { coding, identity: identity != Some(0) }
    }
}

/// The weight that a parameter gives, in thousandths.
fn weight(parameter: Option<&[u8]>) -> Option<u16> {
    let Some(parameter) = parameter else { return Some(1000) };
    let (name, value) = parameter.split_at_checked(2)?;
    if !name.eq_ignore_ascii_case(b"q=") {
        return None;
    }
    let (whole, rest) = value.split_first()?;
    let fraction = match rest.split_first() {
        None => rest,
        Some((b'.', digits)) if digits.len() <= 3 => digits,
        Some(_) => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths =
        [100, 10, 1].into_iter().zip(fraction).map(|(worth, digit)| worth * u16::from(digit - b'0')).sum();
    match whole {
        b'0' => Some(thousandths),
        b'1' if thousandths == 0 => Some(1000),
        _ => None,
    }
}
