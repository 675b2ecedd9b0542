//! `tidegate routes`: the compiled table, one row for each path, in the order of the configuration.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use tidegate_config::Valid;
use tidegate_config::valid::Route;

use super::{Format, load, offline, print};
use crate::snapshot::CompiledRoute;

/// Names of the columns.
const HEADER: [&str; 8] = ["NAME", "METHODS", "PATH", "TARGET", "AUTH", "LIMITS", "CACHE", "ORIGIN"];

pub(super) fn run(path: &Path, format: Format) -> ExitCode {
    let offline = match offline::read(path) {
        Ok(offline) => offline,
        Err(code) => return code,
    };
    let valid = &offline.snapshot.valid;
    let rows: Vec<Row<'_>> = offline.snapshot.routes.iter().map(|route| Row::of(route, valid)).collect();
    print(&match format {
        Format::Text => table(&rows),
        // Texts and lists of texts: there is nothing that could fail.
        Format::Json => format!("{}\n", serde_json::to_string(&rows).unwrap_or_default()),
    });
    offline.notes.iter().for_each(|note| load::say(&format!("note: {note}\n")));
    ExitCode::SUCCESS
}

/// One row. Columns of features that a route does not use are empty.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    /// Any if `None`.
    methods: Option<&'a [String]>,
    /// Any if empty.
    hosts: &'a [String],
    path: &'a str,
    target: &'a str,
    service: Option<&'a str>,
    /// The service's weight of the sum of all, where several share the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<(u32, u32)>,
    auth: Option<String>,
    limits: Vec<String>,
    cache: Option<String>,
    origin: &'a str,
}

impl<'a> Row<'a> {
    fn of(route: &'a CompiledRoute, valid: &Valid) -> Self {
        Self {
            name: &route.name,
            methods: route.methods.as_deref(),
            hosts: &route.hosts,
            path: route.template.as_str(),
            target: &route.target,
            service: (!route.service.is_empty()).then_some(&*route.service),
            share: route.share,
            auth: route.index.and_then(|index| valid.routes.get(index)).and_then(|route| providers(route, valid)),
            limits: route.limits.names().map(str::to_owned).collect(),
            cache: None,
            origin: &route.origin,
        }
    }

    fn cells(&self) -> [String; 8] {
        let optional = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let limits = if self.limits.is_empty() { "-".to_owned() } else { self.limits.join(",") };
        [
            self.name.to_owned(),
            self.methods.map_or_else(|| "*".to_owned(), |methods| methods.join(",")),
            format!("{}{}", self.hosts.join(","), self.path),
            match (self.share, self.service) {
                (Some((weight, total)), Some(service)) => format!("{} ({service} {weight}/{total})", self.target),
                _ => self.target.to_owned(),
            },
            optional(self.auth.as_deref()),
            limits,
            optional(self.cache.as_deref()),
            self.origin.to_owned(),
        ]
    }
}

/// The providers of a route that needs a credential.
fn providers(route: &Route, valid: &Valid) -> Option<String> {
    let access = &route.access;
    let name = |index: &usize| valid.auth.providers.get(*index).map(|provider| provider.name.as_str());
    let names: Vec<&str> = access.providers.value.iter().filter_map(name).collect();
    access.required.value.then(|| names.join(","))
}

fn table(rows: &[Row<'_>]) -> String {
    let rows: Vec<[String; 8]> =
        std::iter::once(HEADER.map(str::to_owned)).chain(rows.iter().map(Row::cells)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..HEADER.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
