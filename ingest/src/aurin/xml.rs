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
    lower: String,
    upper: String,
}

impl FeatureType {
    /// West, south, east, north of its features in degrees, where the server says so. A box of WGS
    /// 84 has longitude first whatever the axes of its features (OGC 06-121r9, 10.2).
    pub fn bounds(&self) -> Option<[f64; 4]> {
        let corner = |text: &str| {
            let mut numbers = text.split_whitespace().map(|number| number.parse::<f64>().ok());
            Some((numbers.next()??, numbers.next()??))
        };
        let ((west, south), (east, north)) = (corner(&self.lower)?, corner(&self.upper)?);
        Some([west, south, east, north])
    }

    fn corner(&mut self, is_lower: bool, text: &str) {
        if is_lower { &mut self.lower } else { &mut self.upper }.push_str(text);
    }
}

/// What a WFS says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Its types.
    pub types: Vec<FeatureType>,
    /// Under which constraints it gives them; a licence, where it says one.
    pub constraints: Option<String>,
}

/// The types in a capabilities document.
///
/// # Errors
/// When it is an exception, or no capabilities document.
pub fn capabilities(xml: &str) -> Result<Capabilities, Fault> {
    let (mut types, mut constraints) = (Vec::<FeatureType>::new(), String::new());
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
            ([.., parent, last], Step::Text(text))
                if parent == "WGS84BoundingBox" && last.ends_with("Corner") =>
            {
                if let Some(current) = types.last_mut() {
                    current.corner(last == "LowerCorner", text);
                }
            }
            ([.., parent, last], Step::Text(text))
                if parent == "ServiceIdentification" && last == "AccessConstraints" =>
            {
                constraints.push_str(text.trim());
            }
            _ => {}
        };
    })?;
    // OWS Common says "NONE" where there are none.
    let is_said = !constraints.is_empty() && !constraints.eq_ignore_ascii_case("none");
    let constraints = is_said.then_some(constraints);
    if is_capabilities {
        Ok(Capabilities { types, constraints })
    } else {
        Err(unexpected(xml, "capabilities"))
    }
}

/// A column of a type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name: that of the property.
    pub name: String,
    /// Its type, without the prefix: `string`, `integer`, `MultiSurfacePropertyType`.
    pub kind: String,
}

impl Column {
    /// Whether it holds geometries (GML 3.2.1, 9.1.2: types of properties that hold one).
    pub fn is_geometry(&self) -> bool {
        self.kind.ends_with("PropertyType")
    }
}

/// The columns in the description of a type.
///
/// # Errors
/// When it is an exception, or describes no such type.
pub fn description(xml: &str, type_name: &str) -> Result<Vec<Column>, Fault> {
    let local = |name: &str| name.rsplit(':').next().unwrap_or(name).to_owned();
    let named = |tag: &BytesStart<'_>, name: &str| {
        attribute(tag, name).map(|text| local(&text)).unwrap_or_default()
    };
    let mut elements = Vec::new();
    let mut types: Vec<(String, Vec<Column>)> = Vec::new();
    walk(xml, |path, step| {
        let Step::Start(tag) = step else { return };
        match path {
            [_, last] if last == "element" => {
                elements.push((named(tag, "name"), named(tag, "type")))
            }
            [_, last] if last == "complexType" => types.push((named(tag, "name"), Vec::new())),
            // A type without a name stands inside of its element; no type that has one is called so.
            [_, outer, last] if outer == "element" && last == "complexType" => {
                if let Some((name, kind)) = elements.last_mut() {
                    *kind = format!("{name}/");
                    types.push((kind.clone(), Vec::new()));
                }
            }
            [_, outer, .., last] if outer == "complexType" || outer == "element" => {
                let Some((_, columns)) = types.last_mut() else { return };
                match (last.as_str(), columns.last_mut()) {
                    ("element", _) => {
                        columns.push(Column { name: named(tag, "name"), kind: named(tag, "type") })
                    }
                    // So does that of a column.
                    ("restriction", Some(column)) if column.kind.is_empty() => {
                        column.kind = named(tag, "base");
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    })?;
    let wanted = local(type_name);
    let of_element = elements.iter().find(|(name, _)| *name == wanted).map(|(_, kind)| kind);
    let found = types.iter().position(|(name, _)| Some(name) == of_element);
    let found = found.or_else(|| (types.len() == 1).then_some(0));
    match found {
        Some(at) => Ok(types.swap_remove(at).1),
        None => Err(unexpected(xml, &format!("a description of {type_name}"))),
    }
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
            <FeatureType><Name>d:e</Name><x><Name>not this</Name></x>
            <o:WGS84BoundingBox><o:LowerCorner>113 -43.5</o:LowerCorner>
            <o:UpperCorner> 152.5  -14.0 </o:UpperCorner></o:WGS84BoundingBox></FeatureType>
            </wfs:FeatureTypeList></wfs:WFS_Capabilities>"#;
        let Capabilities { types, constraints } = capabilities(xml).unwrap();
        assert_eq!(constraints, None);
        assert_eq!(types[0].bounds(), None);
        assert_eq!(types[1].bounds(), Some([113.0, -43.5, 152.5, -14.0]));
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
    fn reads_descriptions() {
        let xml = r#"<schema xmlns:xsd="x"><element name="lga" type="ms:lgaType"/>
            <complexType name="otherType"><sequence><element name="no" type="xsd:int"/></sequence>
            </complexType><complexType name="lgaType"><complexContent><extension base="gml:A">
            <sequence><element name="geom" type="gml:SurfacePropertyType"/>
            <element name="code" type="xsd:string"/><element name="note"><simpleType>
            <restriction base="string"/></simpleType></element></sequence></extension>
            </complexContent></complexType></schema>"#;
        let columns = description(xml, "ms:lga").unwrap();
        let pairs: Vec<_> = columns.iter().map(|c| (c.name.as_str(), c.kind.as_str())).collect();
        let expected = [("geom", "SurfacePropertyType"), ("code", "string"), ("note", "string")];
        assert_eq!(pairs, expected);
        assert_eq!(columns.iter().filter(|column| column.is_geometry()).count(), 1);
        assert!(matches!(description(xml, "ms:else"), Err(Fault::NotData(_))));
        // The type of each stands inside of its element.
        let element = |name: &str| {
            format!(
                "<element name='{name}'><complexType><complexContent><extension base='gml:A'>\
                 <sequence><element name='{name}_code'><simpleType><restriction base='string'/>\
                 </simpleType></element><element name='geom' type='gml:PointPropertyType'/>\
                 </sequence></extension></complexContent></complexType></element>"
            )
        };
        let xml = format!("<schema>{}{}</schema>", element("lga"), element("sa2"));
        for name in ["lga", "sa2"] {
            let columns = description(&xml, &format!("ms:{name}")).unwrap();
            let code = Column { name: format!("{name}_code"), kind: "string".into() };
            assert_eq!((&columns[0], columns.len()), (&code, 2), "{columns:?}");
        }
        assert!(matches!(description("<a/>", "ms:lga"), Err(Fault::NotData(_))));
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
            description(&text, "a:b").ok();
            hits(&text).ok();
            exception(&text);
        }
    }
}
