//! When a certificate ends: a walk over the outer DER of a certificate up to `notAfter`, and nothing else.
//!
//! ```text
//! Certificate ::= SEQUENCE {
//!   tbsCertificate SEQUENCE {
//!     version [0] EXPLICIT OPTIONAL, serialNumber INTEGER, signature SEQUENCE, issuer SEQUENCE,
//!     validity SEQUENCE { notBefore Time, notAfter Time }, …
//! ```
//! Source: RFC 5280, sections 4.1 and 4.1.2.5. Whether the certificate is any good is decided by the TLS library; this
//! only tells people when to renew it.

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// End of validity of the DER certificate in seconds since 1970, or `None` if that place is not as the standard says.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let mut certificate = Reader(Reader(certificate).expect(SEQUENCE)?);
    let mut fields = Reader(certificate.expect(SEQUENCE)?);
    if fields.0.first() == Some(&VERSION) {
        fields.expect(VERSION)?;
    }
    fields.expect(INTEGER)?;
    fields.expect(SEQUENCE)?;
    fields.expect(SEQUENCE)?;
    let mut validity = Reader(fields.expect(SEQUENCE)?);
    let _not_before = validity.next()?;
    let (tag, text) = validity.next()?;
    time(tag, text)
}

/// What has not been read of a run of elements.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Tag and content of the next element. Lengths of more than four bytes do not occur in certificates.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut len = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if !(1..=4).contains(&count) {
                return None;
            }
            let (bytes, behind) = rest.split_at_checked(count)?;
            len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest = behind;
        }
        let (content, behind) = rest.split_at_checked(len)?;
        self.0 = behind;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

/// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from then on.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let (year, rest) = match tag {
        UTC_TIME => {
            let (digits, rest) = text.split_at_checked(2)?;
            let year = number(digits)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (digits, rest) = text.split_at_checked(4)?;
            (number(digits)?, rest)
        }
        _ => return None,
    };
    let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
    let mut pairs = digits.chunks_exact(2).map(number);
    let mut within = |range: std::ops::RangeInclusive<i64>| pairs.next()?.filter(|value| range.contains(value));
    let (month, day) = (within(1..=12)?, within(1..=31)?);
    let (hour, minute, second) = (within(0..=23)?, within(0..=59)?, within(0..=60)?);
    Some(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Source: `days_from_civil` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"; years from 0 on.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that ends at the start of this day.
    fn ending(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(1990, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        for (year, month, day, unix_s) in [
            (1999, 12, 31, 946_598_400),
            (2000, 2, 29, 951_782_400),
            (2026, 11, 28, 1_795_824_000),
            (2049, 12, 31, 2_524_521_600),
            (2050, 1, 1, 2_524_608_000),
            (2100, 3, 1, 4_107_542_400),
            (9999, 12, 31, 253_402_214_400),
        ] {
            assert_eq!(not_after(&ending(year, month, day)), Some(unix_s), "{year}-{month}-{day}");
        }
    }

    #[test]
    fn anything_else_is_no_certificate() {
        let whole = ending(2030, 1, 1);
        for end in 0..whole.len() {
            assert_eq!(not_after(&whole[..end]), None, "cut at {end}");
        }
        // No byte of it makes the walk go astray; most that matter make it end.
        for index in 0..whole.len() {
            let mut changed = whole.clone();
            changed[index] ^= 0xff;
            let _no_panic = not_after(&changed);
        }
        assert_eq!(not_after(b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(not_after(b"\x30\x80\x00\x00"), None, "no length is not DER");
    }

    #[test]
    fn times_are_as_the_standard_has_them() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(GENERALIZED_TIME, b"19691231235959Z"), Some(-1));
        for wrong in
            [&b"700101000000"[..], b"700101000000+0100", b"7001010000Z", b"701301000000Z", b"7001010000 0Z", b""]
        {
            assert_eq!(time(UTC_TIME, wrong), None, "{wrong:?}");
        }
        assert_eq!(time(0x0c, b"700101000000Z"), None);
    }
}
