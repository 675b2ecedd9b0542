//! Keys that only a new process can take over.

use tidegate_config::Valid;
use tidegate_config::valid::Admin;

/// The keys that `after` changes and that are fixed for the life of the process, in the order of the reference page.
/// Empty if `after` can be taken over.
pub(super) fn fields(before: &Valid, after: &Valid) -> Vec<&'static str> {
    let address = |admin: &Option<Admin>| admin.as_ref().map(|admin| admin.address);
    let token = |admin: &Option<Admin>| admin.as_ref().and_then(|admin| admin.token.clone());
    [
        ("runtime.workers", before.runtime.workers != after.runtime.workers),
        ("runtime.model", before.runtime.model != after.runtime.model),
        ("admin.address", address(&before.admin) != address(&after.admin)),
        ("admin.token", token(&before.admin) != token(&after.admin)),
        ("observability.logs.format", before.observability.logs.format != after.observability.logs.format),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}
