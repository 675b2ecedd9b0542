//! The protobuf wire format: varints, tags, and skipping what is not known.
//!
//! Nothing here knows a schema. Reading never panics and never trusts a length: every step is checked against the
//! slice that is left. Writing appends to a `Vec<u8>` and always produces minimal varints, because padded ones are
//! legal but break byte equality with other encoders.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

/// How a field's value is laid out on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WireType {
    /// Base-128 integer, at most ten bytes.
    Varint = 0,
    /// Eight bytes, little endian.
    Fixed64 = 1,
    /// Length and that many bytes.
    Len = 2,
    /// Start of a group.
    StartGroup = 3,
    /// End of a group.
    EndGroup = 4,
    /// Four bytes, little endian.
    Fixed32 = 5,
}

impl WireType {
    fn from_low_bits(key: u64) -> Option<Self> {
        Some(match key & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            3 => WireType::StartGroup,
            4 => WireType::EndGroup,
            5 => WireType::Fixed32,
            _ => return None,
        })
    }
}

/// Bytes that are not protobuf: cut short, an overlong varint, a bad tag, or groups that do not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Groups nested deeper than this are refused while they are skipped.
const MAX_SKIPPED_GROUPS: u32 = 100;

/// Reads a byte slice from front to back.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// True once everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads a varint. More than ten bytes, or bits beyond the 64th, are malformed.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        let [first, tail @ ..] = self.rest else {
            return Err(Malformed);
        };
        if *first < 0x80 {
            self.rest = tail;
            return Ok(u64::from(*first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = self.rest.get(i + 1..).ok_or(Malformed)?;
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    /// Reads a tag: field number (1 to 2^29 - 1) and wire type.
    #[inline]
    pub fn tag(&mut self) -> Result<(u32, WireType), Malformed> {
        let key = self.varint()?;
        let wire_type = WireType::from_low_bits(key).ok_or(Malformed)?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        if number == 0 || number > MAX_FIELD_NUMBER {
            return Err(Malformed);
        }
        Ok((number, wire_type))
    }

    /// Reads four bytes, little endian.
    #[inline]
    pub fn fixed32(&mut self) -> Result<u32, Malformed> {
        let (head, tail) = self.rest.split_first_chunk::<4>().ok_or(Malformed)?;
        self.rest = tail;
        Ok(u32::from_le_bytes(*head))
    }

    /// Reads eight bytes, little endian.
    #[inline]
    pub fn fixed64(&mut self) -> Result<u64, Malformed> {
        let (head, tail) = self.rest.split_first_chunk::<8>().ok_or(Malformed)?;
        self.rest = tail;
        Ok(u64::from_le_bytes(*head))
    }

    /// Reads a length and the bytes it announces.
    #[inline]
    pub fn len_prefixed(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        let (head, tail) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = tail;
        Ok(head)
    }

    /// Steps over the value of field `number`, whose tag was just read. A group is skipped up to its own end tag.
    pub fn skip(&mut self, number: u32, wire_type: WireType) -> Result<(), Malformed> {
        self.skip_within(number, wire_type, MAX_SKIPPED_GROUPS)
    }

    fn skip_within(&mut self, number: u32, wire_type: WireType, depth_left: u32) -> Result<(), Malformed> {
        match wire_type {
            WireType::Varint => self.varint().map(|_| ()),
            WireType::Fixed64 => self.fixed64().map(|_| ()),
            WireType::Fixed32 => self.fixed32().map(|_| ()),
            WireType::Len => self.len_prefixed().map(|_| ()),
            WireType::EndGroup => Err(Malformed),
            WireType::StartGroup => {
                let depth_left = depth_left.checked_sub(1).ok_or(Malformed)?;
                loop {
                    let (inner, inner_type) = self.tag()?;
                    if inner_type == WireType::EndGroup {
                        return if inner == number { Ok(()) } else { Err(Malformed) };
                    }
                    self.skip_within(inner, inner_type, depth_left)?;
                }
            }
        }
    }

    /// Reads the bytes of a group whose start tag was just read, without its end tag, and steps over that.
    pub fn group(&mut self, number: u32) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        loop {
            let before = self.rest.len();
            let (inner, inner_type) = self.tag()?;
            if inner_type == WireType::EndGroup {
                if inner != number {
                    return Err(Malformed);
                }
                return start.get(..start.len() - before).ok_or(Malformed);
            }
            self.skip(inner, inner_type)?;
        }
    }
}

/// The largest field number that protobuf allows.
pub const MAX_FIELD_NUMBER: u32 = (1 << 29) - 1;

/// Appends `value` as a minimal varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    if value < 0x80 {
        out.push(low_byte(value));
        return;
    }
    let len = varint_len(value);
    let mut bytes = [0u8; 10];
    for slot in bytes.iter_mut().take(len) {
        *slot = low_byte(value) | 0x80;
        value >>= 7;
    }
    if let Some(last) = bytes.get_mut(len - 1) {
        *last &= 0x7f;
    }
    // A copy of constant length needs no call; the surplus is cut off.
    let end = out.len() + len;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

#[inline]
fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Number of bytes of `value` as a minimal varint, 1 to 10.
#[inline]
pub fn varint_len(value: u64) -> usize {
    // ceil(bits / 7) without a division; zero counts as one bit.
    let bits = 64 - (value | 1).leading_zeros();
    usize::try_from((bits * 9 + 64) / 64).unwrap_or(10)
}

/// Appends the tag of a field.
#[inline]
pub fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: WireType) {
    put_varint(out, tag_value(number, wire_type));
}

/// The tag of a field as the number that is written as a varint.
#[inline]
pub fn tag_value(number: u32, wire_type: WireType) -> u64 {
    let low = match wire_type {
        WireType::Varint => 0,
        WireType::Fixed64 => 1,
        WireType::Len => 2,
        WireType::StartGroup => 3,
        WireType::EndGroup => 4,
        WireType::Fixed32 => 5,
    };
    u64::from(number) << 3 | low
}

/// Zigzag form of a signed 32-bit value (`sint32`).
#[inline]
pub fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

/// Zigzag form of a signed 64-bit value (`sint64`).
#[inline]
pub fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// Undoes [`zigzag32`].
#[inline]
pub fn unzigzag32(value: u32) -> i32 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Undoes [`zigzag64`].
#[inline]
pub fn unzigzag64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Where a length-delimited value whose size is not known yet began.
#[derive(Clone, Copy, Debug)]
pub struct OpenLen {
    /// Index of the first byte of the value; the reserved length byte stands before it.
    start: usize,
}

/// Reserves one length byte; the value is appended next, then [`close_len`] is called.
#[inline]
pub fn open_len(out: &mut Vec<u8>) -> OpenLen {
    out.push(0);
    OpenLen { start: out.len() }
}

/// Writes the length that [`open_len`] reserved room for. A value of 128 bytes or more is moved up once to make room
/// for its longer length.
///
/// # Panics
/// Never, as long as `out` was only appended to since [`open_len`].
#[inline]
pub fn close_len(out: &mut Vec<u8>, open: OpenLen) {
    let len = out.len().saturating_sub(open.start);
    if len < 0x80 {
        if let Some(slot) = out.get_mut(open.start.wrapping_sub(1)) {
            *slot = low_byte(len as u64);
        }
        return;
    }
    close_long_len(out, open.start, len);
}

fn close_long_len(out: &mut Vec<u8>, start: usize, len: usize) {
    let mut rest = len as u64;
    let extra = varint_len(rest) - 1;
    out.extend_from_slice(&[0u8; 10][..extra]);
    out.copy_within(start..start + len, start + extra);
    for slot in out.iter_mut().skip(start - 1).take(extra + 1) {
        *slot = low_byte(rest) | 0x80;
        rest >>= 7;
    }
    if let Some(last) = out.get_mut(start - 1 + extra) {
        *last &= 0x7f;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_minimal_and_read_back() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(Cursor::new(&out).varint(), Ok(value));
            }
        }
        assert_eq!(varint_len(u64::MAX), 10);
    }

    #[test]
    fn bad_varints_are_refused() {
        let cases: [&[u8]; 4] =
            [&[], &[0x80], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]];
        for bytes in cases {
            assert_eq!(Cursor::new(bytes).varint(), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn bad_tags_are_refused() {
        // Field number zero; wire types 6 and 7; a number of 2^29.
        let cases: [&[u8]; 4] = [&[0x00], &[0x0e], &[0x0f], &[0x80, 0x80, 0x80, 0x80, 0x10]];
        for bytes in cases {
            assert_eq!(Cursor::new(bytes).tag(), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn lengths_of_any_size_are_patched_in() {
        for len in [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_152] {
            let mut out = vec![9];
            let open = open_len(&mut out);
            out.extend((0..len).map(|i: usize| low_byte(i as u64)));
            close_len(&mut out, open);
            out.push(7);
            let mut cursor = Cursor::new(&out[1..]);
            let value = cursor.len_prefixed().unwrap();
            assert_eq!(value.len(), len);
            assert!(value.iter().enumerate().all(|(i, &b)| b == low_byte(i as u64)));
            assert_eq!(cursor.rest(), [7]);
        }
    }

    #[test]
    fn groups_are_skipped_to_their_own_end() {
        // Group 1 with a varint field and an inner group 2, then one byte more.
        let bytes = [0x08, 0x01, 0x13, 0x14, 0x0c, 0xaa];
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(cursor.group(1), Ok(&bytes[..4]));
        assert_eq!(cursor.rest(), [0xaa]);
        assert_eq!(Cursor::new(&[0x14]).group(1), Err(Malformed));
        let deep = [0x0b; 200];
        assert_eq!(Cursor::new(&deep).skip(1, WireType::StartGroup), Err(Malformed));
    }

    #[test]
    fn zigzag_round_trips() {
        for value in [0, -1, 1, i64::MIN, i64::MAX] {
            assert_eq!(unzigzag64(zigzag64(value)), value);
        }
        for value in [0, -1, 1, i32::MIN, i32::MAX] {
            assert_eq!(unzigzag32(zigzag32(value)), value);
        }
    }
}
