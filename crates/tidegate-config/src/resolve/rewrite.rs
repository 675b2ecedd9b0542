//! New paths for backends: `/v2/{rest}` with the variables of the route's own path.

use tidegate_route::Template;

use super::Resolver;
use crate::decode::Item;
use crate::diag::Code;
use crate::raw::RawRewrite;
use crate::valid::{Rewrite, RewritePart};

impl Resolver<'_> {
    /// The new path; `template` is the route's.
    pub(super) fn rewrite(&mut self, item: &Item<RawRewrite>, template: Option<&Template>) -> Option<Rewrite> {
        let path = item.value.path.set()?;
        let text = path.value.0.as_str();
        match parts(text, template) {
            Ok(parts) => Some(Rewrite { path: parts, text: text.to_owned(), place: path.place.clone() }),
            Err(help) => {
                self.error_with(Code::InvalidPath, &path.place, format!("{} is not a new path", path.shown()), help);
                None
            }
        }
    }
}

/// The pieces of a path, or what is wrong with it.
fn parts(text: &str, template: Option<&Template>) -> Result<Vec<RewritePart>, String> {
    if !text.starts_with('/') {
        return Err("it begins with \"/\"".to_owned());
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, behind)) = rest.split_once('{') {
        push_literal(literal, &mut parts)?;
        let (name, behind) = behind.split_once('}').ok_or("a \"{\" without \"}\"")?;
        let variables = template.map_or(&[][..], Template::variables);
        let known = variables.iter().position(|variable| variable.field_path == name);
        let Some(index) = known else {
            let names: Vec<_> = variables.iter().map(|variable| format!("{{{}}}", variable.field_path)).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("variables of the route's path: {known}"));
        };
        parts.push(RewritePart::Variable(index));
        rest = behind;
    }
    push_literal(rest, &mut parts)?;
    Ok(parts)
}

fn push_literal(text: &str, parts: &mut Vec<RewritePart>) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
    if !text.bytes().all(plain) {
        return Err("escape what is no character of a path; a query does not belong here".to_owned());
    }
    if !text.is_empty() {
        parts.push(RewritePart::Literal(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_path_is_made_of_text_and_known_variables() {
        let template = Template::parse("/legacy/{id}/{rest=**}").unwrap();
        let check = |text: &str| parts(text, Some(&template)).ok();
        let (literal, variable) = (|text: &str| RewritePart::Literal(text.to_owned()), RewritePart::Variable);
        assert_eq!(check("/"), Some(vec![literal("/")]));
        assert_eq!(check("/{rest}"), Some(vec![literal("/"), variable(1)]));
        assert_eq!(check("/v2/{id}/x/{rest}"), Some(vec![literal("/v2/"), variable(0), literal("/x/"), variable(1)]));
        for wrong in ["", "x", "{rest}", "/{other}", "/{rest", "/a b", "/a?b", "/ä"] {
            assert_eq!(check(wrong), None, "{wrong}");
        }
    }
}
