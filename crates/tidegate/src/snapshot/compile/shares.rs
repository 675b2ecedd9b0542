//! Routes whose requests several services share: one row for each service, which follow one another.

use std::ops::Range;

use tidegate_config::valid::Share;
use tidegate_config::{Code, Diagnostic};

use super::{Compiler, Row};
use crate::snapshot::split::Split;

impl Compiler<'_> {
    /// Tells the first row of each such route of the others.
    pub(super) fn shares(&mut self) {
        let mut from = 0;
        while from < self.rows.len() {
            let followers = self.rows.iter().skip(from + 1).take_while(|row| !row.route.leads).count();
            let group = from..from + 1 + followers;
            from = group.end;
            let weight = |at: usize| Some((at, self.share(self.rows.get(at)?)?.weight));
            let parts: Vec<(usize, u32)> = group.clone().filter_map(weight).collect();
            if parts.is_empty() {
                continue;
            }
            self.check_alike(group.clone());
            let total = parts.iter().map(|(_, weight)| weight).sum();
            for (at, weight) in &parts {
                if let Some(row) = self.rows.get_mut(*at) {
                    row.route.share = Some((*weight, total));
                }
            }
            if let Some(first) = self.rows.get_mut(group.start) {
                let workers = self.inputs.process.wheels.count();
                first.route.split = Some(Box::new(Split::new(&parts, workers)));
            }
        }
    }

    fn share(&self, row: &Row) -> Option<&Share> {
        self.inputs.valid.routes.get(row.route.index?)?.share.as_ref()
    }

    /// A client gets answers of all of them, so they have to have the same method.
    fn check_alike(&mut self, group: Range<usize>) {
        let Some((first, others)) = self.rows.get(group).and_then(<[Row]>::split_first) else { return };
        let Some(plan) = first.route.action.transcode().map(|transcode| transcode.plan()) else { return };
        let differs = |row: &Row| {
            let what = plan.differs(row.route.action.transcode()?.plan())?;
            let (one, other) = (&first.route.service, &row.route.service);
            let text = format!("services \"{one}\" and \"{other}\" cannot share a route: {what}");
            Some(Diagnostic::error(Code::Descriptors, text).at(&self.share(row)?.place))
        };
        let problems: Vec<Diagnostic> = others.iter().filter_map(differs).collect();
        for problem in problems {
            self.problems.push(problem);
        }
    }
}
