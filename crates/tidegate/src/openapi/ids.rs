//! `operationId`s: the name of the route, with more behind it only where one route has several operations.

use std::collections::{HashMap, HashSet};

use super::Row;

/// For each row the ids of its methods, in their order. No two are equal.
///
/// A route with one operation has its name. One with several has the method behind it (`orders-put`), or the RPC where
/// the paths stand in annotations (`orders-GetOrder`); what still clashes is counted (`orders-GetOrder-2`).
pub(super) fn assign(rows: &[Row<'_>]) -> Vec<Vec<String>> {
    let mut operations: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        *operations.entry(&row.compiled.name).or_default() += row.methods().len();
    }
    // Names that are ids as they stand keep out of the way of those that get something behind them.
    let mut taken: HashSet<String> = HashSet::new();
    // An endpoint of WebSockets is called by its path, which is no identifier.
    let is_id = |name: &str| !name.starts_with('/');
    let alone = |row: &Row<'_>| is_id(&row.compiled.name) && operations.get(&*row.compiled.name) == Some(&1);
    let mut plain: HashSet<usize> = HashSet::new();
    for (index, row) in rows.iter().enumerate() {
        if alone(row) && taken.insert(row.compiled.name.to_string()) {
            plain.insert(index);
        }
    }
    let ids_of = |(index, row): (usize, &Row<'_>)| {
        if plain.contains(&index) {
            return vec![row.compiled.name.to_string()];
        }
        row.methods().iter().map(|method| free(&longer(row, method), &mut taken)).collect()
    };
    rows.iter().enumerate().map(ids_of).collect()
}

fn longer(row: &Row<'_>, method: &str) -> String {
    let name = &row.compiled.name;
    if let Some(path) = name.strip_prefix('/') {
        return format!("websocket-{}", path.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"));
    }
    match row.compiled.target.rsplit_once('/') {
        Some((_, rpc)) if row.is_annotated() => format!("{name}-{rpc}"),
        _ => format!("{name}-{}", method.to_ascii_lowercase()),
    }
}

/// `wanted`, or with the first number behind it that is free.
fn free(wanted: &str, taken: &mut HashSet<String>) -> String {
    let mut id = wanted.to_owned();
    let mut number = 2_u32;
    while !taken.insert(id.clone()) {
        id = format!("{wanted}-{number}");
        number = number.saturating_add(1);
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clashes_is_counted() {
        let mut taken = HashSet::from(["a".to_owned()]);
        assert_eq!(free("a", &mut taken), "a-2");
        assert_eq!(free("a", &mut taken), "a-3");
        assert_eq!(free("b", &mut taken), "b");
    }
}
