//! The XML answers of a WFS 2.0.

use std::fmt::Write;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;

use super::dataset::Dataset;

const NAMESPACES: &str = "xmlns:wfs=\"http://www.opengis.net/wfs/2.0\" \
    xmlns:ows=\"http://www.opengis.net/ows/1.1\" xmlns:gml=\"http://www.opengis.net/gml/3.2\" \
    xmlns:xlink=\"http://www.w3.org/1999/xlink\"";

/// XML as an answer.
pub fn response(xml: String) -> Response {
    ([(header::CONTENT_TYPE, "application/xml")], xml).into_response()
}

/// The capabilities document, with what clients read of one.
pub fn capabilities(datasets: &[Dataset]) -> String {
    let mut types = String::new();
    for dataset in datasets {
        let [west, south, east, north] = dataset.bounds();
        // Writing to a string can't fail.
        write!(
            types,
            "<FeatureType><Name>{}</Name><Title>{}</Title><Abstract>{}</Abstract>\
             <ows:Keywords><ows:Keyword>sample</ows:Keyword></ows:Keywords>\
             <DefaultCRS>urn:ogc:def:crs:EPSG::4326</DefaultCRS><ows:WGS84BoundingBox>\
             <ows:LowerCorner>{west} {south}</ows:LowerCorner>\
             <ows:UpperCorner>{east} {north}</ows:UpperCorner></ows:WGS84BoundingBox></FeatureType>",
            escape(&dataset.type_name),
            escape(dataset.title),
            escape(dataset.summary),
        )
        .ok();
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <wfs:WFS_Capabilities version=\"2.0.0\" xmlns=\"http://www.opengis.net/wfs/2.0\" \
         {NAMESPACES}><ows:ServiceIdentification><ows:Title>Sample WFS</ows:Title>\
         <ows:ServiceType>WFS</ows:ServiceType>\
         <ows:ServiceTypeVersion>2.0.0</ows:ServiceTypeVersion></ows:ServiceIdentification>\
         <FeatureTypeList>{types}</FeatureTypeList></wfs:WFS_Capabilities>"
    )
}

/// The description of a type: its columns and its geometry.
pub fn description(dataset: &Dataset) -> String {
    let local = dataset.local_name();
    let mut elements = String::new();
    for (name, kind) in dataset.columns() {
        write!(
            elements,
            "<xsd:element maxOccurs=\"1\" minOccurs=\"0\" name=\"{}\" nillable=\"true\" \
             type=\"{kind}\"/>",
            escape(name)
        )
        .ok();
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <xsd:schema xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" \
         xmlns:gml=\"http://www.opengis.net/gml/3.2\" elementFormDefault=\"qualified\">\
         <xsd:complexType name=\"{local}Type\"><xsd:complexContent>\
         <xsd:extension base=\"gml:AbstractFeatureType\"><xsd:sequence>{elements}</xsd:sequence>\
         </xsd:extension></xsd:complexContent></xsd:complexType>\
         <xsd:element name=\"{local}\" substitutionGroup=\"gml:AbstractFeature\" \
         type=\"{local}Type\"/></xsd:schema>"
    )
}

/// How many features there are.
pub fn hits(matched: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><wfs:FeatureCollection {NAMESPACES} \
         numberMatched=\"{matched}\" numberReturned=\"0\" timeStamp=\"{}\"/>",
        Timestamp::now()
    )
}

/// An exception report.
pub fn exception(code: &str, locator: &str, text: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ows:ExceptionReport version=\"2.0.0\" \
         xmlns:ows=\"http://www.opengis.net/ows/1.1\"><ows:Exception exceptionCode=\"{code}\" \
         locator=\"{locator}\"><ows:ExceptionText>{}</ows:ExceptionText></ows:Exception>\
         </ows:ExceptionReport>",
        escape(text)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
