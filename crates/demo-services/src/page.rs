//! Pages of a list. A page goes on behind the key of the last item that was seen, so nothing is shown twice or left out
//! when items come and go in between.

use std::str::FromStr;

use crate::fault::Fault;

/// Items of a page that names no size.
const SIZE_DEFAULT: usize = 50;
/// Most items of a page.
const SIZE_MAX: usize = 500;

/// Which part of a list is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window<K> {
    /// 1 to [`SIZE_MAX`].
    pub(crate) size: usize,
    /// The key of the last item that the client has.
    pub(crate) after: Option<K>,
}

/// A part of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Page<T, K> {
    pub(crate) items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub(crate) next: Option<K>,
}

impl<K: FromStr> Window<K> {
    /// Reads what a client sent; empty or 0 is the default.
    ///
    /// # Errors
    /// `Invalid` that names `size_field` or `after_field`.
    pub(crate) fn parse(size_field: &str, size: &str, after_field: &str, after: &str) -> Result<Self, Fault> {
        let size = match size {
            "" | "0" => SIZE_DEFAULT,
            text => text
                .parse()
                .ok()
                .filter(|size| (1..=SIZE_MAX).contains(size))
                .ok_or_else(|| Fault::field(size_field, format!("must be 1 to {SIZE_MAX}")))?,
        };
        let after = match after {
            "" => None,
            text => Some(text.parse().map_err(|_| Fault::field(after_field, "must come from an earlier page"))?),
        };
        Ok(Self { size, after })
    }
}

impl<K> Window<K> {
    /// The first items of `rest`, which begins behind `after`.
    pub(crate) fn page<T>(&self, rest: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> Page<T, K> {
        let mut items: Vec<T> = rest.take(self.size.saturating_add(1)).collect();
        let more = items.len() > self.size;
        items.truncate(self.size);
        let next = items.last().filter(|_| more).map(key);
        Page { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_whole_list() {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let window = Window::<u32>::parse("limit", "3", "cursor", &after).unwrap();
            let page = window.page((window.after.unwrap_or(0) + 1)..=7, |item| *item);
            seen.extend(page.items);
            let Some(next) = page.next else { break };
            after = next.to_string();
        }
        assert_eq!(seen, [1, 2, 3, 4, 5, 6, 7]);
        let exact = Window::<u32> { size: 7, after: None };
        assert_eq!(exact.page(1..=7, |item| *item).next, None);
    }

    #[test]
    fn sizes_have_a_bound_and_cursors_a_form() {
        let parse = |size, after| Window::<u32>::parse("limit", size, "cursor", after).map_err(|e| e.to_string());
        assert_eq!(parse("", ""), Ok(Window { size: 50, after: None }));
        assert_eq!(parse("500", "9"), Ok(Window { size: 500, after: Some(9) }));
        assert_eq!(parse("501", ""), Err("limit must be 1 to 500".to_owned()));
        assert_eq!(parse("-1", ""), Err("limit must be 1 to 500".to_owned()));
        assert_eq!(parse("1", "x"), Err("cursor must come from an earlier page".to_owned()));
    }
}
