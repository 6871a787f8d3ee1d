//! Whether what is to be polled is there: the type, the property that is its key, and what stands at a
//! place.

use super::config::DatasetConfig;
use super::fault::Fault;
use super::feature;
use super::scan::Cut;
use super::shape::Shape;
use super::wfs::Wfs;
use super::xml::{Column, FeatureType};

/// The type.
///
/// # Errors
/// When the capabilities have none of this name.
pub fn of_name<'a>(types: &'a [FeatureType], type_name: &str) -> Result<&'a FeatureType, Fault> {
    types
        .iter()
        .find(|one| one.name == type_name)
        .ok_or_else(|| missing_type(type_name, types.iter().map(|one| one.name.as_str())))
}

/// Whether the type has the property that is the key.
///
/// # Errors
/// When it has not.
pub fn has_key(dataset: &DatasetConfig, columns: &[Column]) -> Result<(), Fault> {
    if columns.iter().any(|column| column.name == dataset.id_property) {
        return Ok(());
    }
    let there: Vec<&str> = columns
        .iter()
        .filter(|column| !column.is_geometry())
        .map(|column| column.name.as_str())
        .collect();
    Err(Fault::MissingProperty {
        type_name: dataset.type_name.clone(),
        property: dataset.id_property.clone(),
        there: there.join(", "),
    })
}

/// How many features there are at a place, of at most `count`, and the id of the first, if it has one.
///
/// # Errors
/// What the WFS does wrong.
pub async fn found_at(
    wfs: &Wfs,
    dataset: &DatasetConfig,
    shape: Shape,
    place: u64,
    count: u32,
) -> Result<(usize, Option<String>), Fault> {
    let mut page = wfs.page(&dataset.type_name, &dataset.id_property, shape, place, count).await?;
    let (mut found, mut first) = (0, None);
    while let Some(features) = page.next().await? {
        found += features.len();
        first = first.or(features.into_iter().next());
    }
    let Some(Cut::Feature(bytes)) = first else { return Ok((found, None)) };
    Ok((found, feature::read(bytes, &dataset.id_property).ok().map(|one| one.id)))
}

fn missing_type<'a>(type_name: &str, there: impl Iterator<Item = &'a str>) -> Fault {
    let local = |name: &'a str| name.rsplit(':').next().unwrap_or(name);
    let wanted = type_name.rsplit(':').next().unwrap_or(type_name);
    let nearest = there.into_iter().find(|name| local(name).eq_ignore_ascii_case(wanted));
    let nearest = nearest.map(|name| format!(" (it has {name})")).unwrap_or_default();
    Fault::MissingType { type_name: type_name.to_owned(), nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_type_names_the_nearest() {
        let fault = missing_type("x:Income", ["a:b", "y:income"].into_iter());
        assert!(fault.to_string().contains("(it has y:income)"), "{fault}");
    }
}
