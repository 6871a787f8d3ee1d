//! The XML that a WFS answers with: capabilities, hits, exceptions.
//!
//! Source: OGC 09-025r2 (WFS 2.0), clauses 8.3 and 11.3; OGC 06-121r9 (OWS Common), clause 8.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

use super::fault::Fault;

/// A type that a WFS has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureType {
    /// Its name, with the workspace.
    pub name: String,
    /// Its title.
    pub title: String,
}

/// The types in a capabilities document.
///
/// # Errors
/// When it is an exception, or no capabilities document.
pub fn capabilities(xml: &str) -> Result<Vec<FeatureType>, Fault> {
    let mut types = Vec::new();
    let mut is_capabilities = false;
    walk(xml, |path, step| {
        match (path, step) {
            ([root], Step::Start(_)) => is_capabilities = root == "WFS_Capabilities",
            ([.., last], Step::Start(_)) if last == "FeatureType" => {
                types.push(FeatureType::default());
            }
            ([.., parent, last], Step::Text(text)) if parent == "FeatureType" => {
                if let Some(current) = types.last_mut() {
                    match last.as_str() {
                        "Name" => current.name.push_str(text.trim()),
                        "Title" => current.title.push_str(text),
                        _ => {}
                    }
                }
            }
            _ => {}
        };
    })?;
    if is_capabilities { Ok(types) } else { Err(unexpected(xml, "capabilities")) }
}

/// The number of features that match, where the server knows it.
///
/// # Errors
/// When it is an exception, or no feature collection.
pub fn hits(xml: &str) -> Result<Option<u64>, Fault> {
    let mut matched = None;
    walk(xml, |path, step| {
        if let ([root], Step::Start(tag)) = (path, step)
            && root == "FeatureCollection"
        {
            // WFS 1.1 called it numberOfFeatures; "unknown" is allowed.
            let number = ["numberMatched", "numberOfFeatures"]
                .iter()
                .find_map(|name| attribute(tag, name))
                .and_then(|text| text.parse().ok());
            matched = Some(number);
        }
    })?;
    matched.ok_or_else(|| unexpected(xml, "a feature collection"))
}

/// The exception in a report, if it is one.
pub fn exception(xml: &str) -> Option<Fault> {
    let (mut code, mut text, mut is_report) = (String::new(), String::new(), false);
    // A report that is cut off still says something.
    walk(xml, |path, step| match (path, step) {
        ([.., last], Step::Start(tag)) => match last.as_str() {
            "ExceptionReport" | "ServiceExceptionReport" => is_report = true,
            "Exception" | "ServiceException" if code.is_empty() => {
                let name = ["exceptionCode", "code"];
                code = name.iter().find_map(|name| attribute(tag, name)).unwrap_or_default();
            }
            _ => {}
        },
        ([.., last], Step::Text(part)) if last == "ExceptionText" || last == "ServiceException" => {
            text.push_str(part);
        }
        _ => {}
    })
    .ok();
    is_report.then(|| Fault::Exception { code, text: text.trim().to_owned() })
}

fn unexpected(xml: &str, expected: &str) -> Fault {
    exception(xml).unwrap_or_else(|| Fault::NotData(format!("XML that is not {expected}")))
}

enum Step<'a> {
    Start(&'a BytesStart<'a>),
    Text(&'a str),
}

/// Walks through a document, with the local names of the elements that are open.
fn walk(xml: &str, mut visit: impl FnMut(&[String], Step<'_>)) -> Result<(), Fault> {
    let mut reader = Reader::from_str(xml);
    let mut path: Vec<String> = Vec::new();
    let mut has_root = false;
    let broken = |error: quick_xml::Error| Fault::NotData(format!("broken XML ({error})"));
    loop {
        let event = reader.read_event().map_err(broken)?;
        if let Event::Start(_) | Event::Empty(_) = event
            && path.is_empty()
            && std::mem::replace(&mut has_root, true)
        {
            return Err(Fault::NotData("XML with more than one root".to_owned()));
        }
        match event {
            Event::Start(tag) => {
                path.push(tag.local_name().as_ref().to_owned());
                visit(&path, Step::Start(&tag));
            }
            Event::Empty(tag) => {
                path.push(tag.local_name().as_ref().to_owned());
                visit(&path, Step::Start(&tag));
                path.pop();
            }
            Event::End(_) => {
                path.pop();
            }
            Event::Text(text) => visit(&path, Step::Text(&text.xml10_content())),
            Event::CData(text) => visit(&path, Step::Text(&text.xml10_content())),
            Event::GeneralRef(name) => match name.resolve_char_ref().map_err(broken)? {
                Some(character) => visit(&path, Step::Text(character.encode_utf8(&mut [0; 4]))),
                None => {
                    let text = resolve_predefined_entity(&name.xml10_content()).unwrap_or_default();
                    visit(&path, Step::Text(text));
                }
            },
            Event::Eof if !path.is_empty() => {
                return Err(Fault::NotData("XML that ends in the middle".to_owned()));
            }
            Event::Eof => return Ok(()),
            _ => {}
        }
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    Some(attribute.normalized_value(quick_xml::XmlVersion::Explicit1_0).ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_capabilities() {
        let xml = r#"<?xml version="1.0"?><wfs:WFS_Capabilities xmlns:wfs="w" version="2.0.0">
            <wfs:FeatureTypeList><wfs:FeatureType><wfs:Name> a:b&amp;c </wfs:Name>
            <wfs:Title>Income &#38; <![CDATA[<more>]]></wfs:Title></wfs:FeatureType>
            <FeatureType><Name>d:e</Name><x><Name>not this</Name></x></FeatureType>
            </wfs:FeatureTypeList></wfs:WFS_Capabilities>"#;
        let types = capabilities(xml).unwrap();
        assert_eq!(types[0].name, "a:b&c");
        assert_eq!(types[0].title, "Income & <more>");
        assert_eq!((types[1].name.as_str(), types.len()), ("d:e", 2));
        assert!(matches!(capabilities("<html></html>"), Err(Fault::NotData(_))));
        // Cut off, it might lack the type that is asked for: that is no answer.
        let cut = capabilities(&xml[..xml.len() - 30]).unwrap_err();
        assert!(matches!(&cut, Fault::NotData(_)) && cut.is_transient(), "{cut}");
        assert!(capabilities(&format!("{xml}<FeatureCollection/>")).is_err());
    }

    #[test]
    fn reads_hits() {
        let page =
            |attributes: &str| format!("<wfs:FeatureCollection xmlns:wfs='w' {attributes}/>");
        assert_eq!(hits(&page("numberMatched='237' numberReturned='0'")), Ok(Some(237)));
        assert_eq!(hits(&page("numberOfFeatures='5'")), Ok(Some(5)));
        assert_eq!(hits(&page("numberMatched='unknown'")), Ok(None));
        assert!(matches!(hits(""), Err(Fault::NotData(_))));
        assert!(matches!(hits("{\"type\":1}"), Err(Fault::NotData(_))));
    }

    #[test]
    fn reads_exceptions_of_all_versions() {
        let ows = r#"<ows:ExceptionReport xmlns:ows="o"><ows:Exception exceptionCode="InvalidParameterValue"
            locator="typeName"><ows:ExceptionText>Feature type x unknown</ows:ExceptionText></ows:Exception>"#;
        let expected = Fault::Exception {
            code: "InvalidParameterValue".into(),
            text: "Feature type x unknown".into(),
        };
        // Cut off, too.
        assert_eq!(exception(ows), Some(expected.clone()));
        assert_eq!(hits(&format!("{ows}</ows:ExceptionReport>")), Err(expected.clone()));
        assert!(!expected.is_transient());
        let old = "<ServiceExceptionReport><ServiceException code='NoApplicableCode'>down\
                   </ServiceException></ServiceExceptionReport>";
        let expected = Fault::Exception { code: "NoApplicableCode".into(), text: "down".into() };
        assert_eq!(exception(old), Some(expected.clone()));
        assert!(expected.is_transient());
        assert_eq!(exception("<html/>"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text in "[<>&;/a-c\"= #\\PC]*") {
            capabilities(&text).ok();
            hits(&text).ok();
            exception(&text);
        }
    }
}
