//! `tidegate routes`: the compiled table, one row for each path, in the order of the configuration.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;
use tidegate_config::Loaded;

use super::{Format, exit, load, print};
use crate::app;
use crate::snapshot::{CompiledRoute, Snapshot};

pub(super) fn run(path: &Path, format: Format) -> ExitCode {
    let Some(Loaded { valid, mut diagnostics }) = load::load(path) else {
        return ExitCode::from(exit::CONFIG);
    };
    match app::draft(&Arc::new(valid)) {
        Ok(snapshot) => {
            print(&match format {
                Format::Text => table(&snapshot),
                Format::Json => as_json(&snapshot),
            });
            ExitCode::SUCCESS
        }
        Err(problems) => {
            load::add(&mut diagnostics, &problems);
            load::report(&diagnostics);
            ExitCode::from(exit::CONFIG)
        }
    }
}

fn table(snapshot: &Snapshot) -> String {
    let header = ["METHOD", "PATH", "TARGET", "SERVICE", "ROUTE", "FROM"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(snapshot.routes.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..6).map(|column| width(column).unwrap_or(0)).collect();
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

fn cells(route: &CompiledRoute) -> [String; 6] {
    let methods = route.methods.as_ref().map_or_else(|| "*".to_owned(), |methods| methods.join(","));
    let path = match route.hosts.as_slice() {
        [] => route.template.as_str().to_owned(),
        hosts => format!("{}{}", hosts.join(","), route.template.as_str()),
    };
    let service = if route.service.is_empty() { "-" } else { &route.service };
    [methods, path, route.target.to_string(), service.to_owned(), route.name.to_string(), route.origin.to_string()]
}

fn as_json(snapshot: &Snapshot) -> String {
    let routes: Vec<_> = snapshot
        .routes
        .iter()
        .map(|route| {
            json!({
                "name": route.name,
                "origin": route.origin,
                "hosts": route.hosts,
                "methods": route.methods,
                "path": route.template.as_str(),
                "service": route.service,
                "target": route.target,
            })
        })
        .collect();
    format!("{}\n", json!({ "routes": routes }))
}
