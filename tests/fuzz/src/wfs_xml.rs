//! The parsers of a WFS's XML.

use bowerbird_ingest::aurin::xml;

/// Any document is read or refused; one root is not two documents; and what is cut off before its
/// last mark is not whole.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (types, hits) = (xml::capabilities(&text), xml::hits(&text));
    xml::exception(&text);
    assert!(types.is_err() || hits.is_err());
    if let Ok(types) = types
        && let Some(end) = text.rfind("</")
        && text[end..].contains("WFS_Capabilities")
    {
        let cut = xml::capabilities(&text[..end]);
        assert!(cut.is_err(), "{types:?}");
    }
}
