//! The overlay of environment variables: `BOWERBIRD__SECTION__KEY`.

use super::ENV_PREFIX;
use super::file::{self, Entry, nearest};
use super::key::{self, did_you_mean};
use crate::error::Problem;

/// Reads those of `variables` that are ours: what is set, and what is wrong. An empty variable
/// sets nothing, as compose files pass on unset ones so.
pub(super) fn read(
    variables: impl IntoIterator<Item = (String, String)>,
) -> (Vec<Entry>, Vec<Problem>) {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for (variable, text) in variables {
        let Some(path) = variable.strip_prefix(ENV_PREFIX) else { continue };
        match find(path) {
            Ok(_) if text.is_empty() => {}
            Ok((section, key)) => match file::read_variable(&variable, key, &text) {
                Ok(value) => {
                    entries.push(Entry { section: &section.name, key, value, place: variable });
                }
                Err(found) => problems.extend(found),
            },
            Err(message) => problems.push(Problem { place: variable, message }),
        }
    }
    (entries, problems)
}

fn find(path: &str) -> Result<(&'static key::Section, &'static key::Key), String> {
    let path = path.to_lowercase();
    let (name, key) = path
        .split_once("__")
        .ok_or_else(|| format!("names no key; variables read {ENV_PREFIX}SECTION__KEY"))?;
    let section = key::section(name).ok_or_else(|| {
        let known = key::sections().iter().map(|section| section.name.as_str());
        format!("there is no section {name}{}", did_you_mean(name, known))
    })?;
    let found = section.key(key);
    let found =
        found.ok_or_else(|| format!("there is no key {name}.{key}{}", nearest(section, key)));
    found.map(|key| (section, key))
}
