//! Requests in the key-value encoding of WFS 2.0, whose names are case-insensitive.

use std::collections::HashMap;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::xml;

/// A request that is understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// `GetCapabilities`
    Capabilities,
    /// `DescribeFeatureType`
    Describe { type_name: String },
    /// `GetFeature` with `resultType=hits`
    Hits { type_name: String },
    /// `GetFeature`
    Features { type_name: String, page: Page },
}

/// Which features.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub count: usize,
    pub start_index: usize,
    pub sort_by: Option<String>,
    pub srs: Option<String>,
}

/// What is answered to a request that can't be served (OWS Common 1.1, clause 8).
#[derive(Debug, PartialEq, Eq)]
pub struct Exception {
    code: &'static str,
    locator: &'static str,
    text: String,
}

impl Exception {
    /// An exception.
    pub fn new(code: &'static str, locator: &'static str, text: impl Into<String>) -> Self {
        Self { code, locator, text: text.into() }
    }

    /// As a report.
    pub fn xml(&self) -> String {
        xml::exception(self.code, self.locator, &self.text)
    }
}

impl IntoResponse for Exception {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, "application/xml")];
        (StatusCode::BAD_REQUEST, kind, self.xml()).into_response()
    }
}

impl Request {
    /// Reads the names and values of a query.
    pub fn read(pairs: Vec<(String, String)>) -> Result<Self, Exception> {
        let pairs: HashMap<String, String> =
            pairs.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        let get = |name: &str| pairs.get(name).map(String::as_str);
        let missing = |name| Exception::new("MissingParameterValue", name, format!("no {name}"));
        if !get("service").ok_or_else(|| missing("service"))?.eq_ignore_ascii_case("WFS") {
            return Err(Exception::new("InvalidParameterValue", "service", "not a WFS request"));
        }
        let type_name = || {
            let name = get("typenames").or_else(|| get("typename"));
            name.map(str::to_owned).ok_or_else(|| missing("typeNames"))
        };
        let number = |name: &'static str, default| match get(name) {
            None => Ok(default),
            Some(text) => text.parse::<usize>().map_err(|_| {
                Exception::new("InvalidParameterValue", name, format!("{text} is no number"))
            }),
        };
        match get("request").ok_or_else(|| missing("request"))? {
            "GetCapabilities" => Ok(Self::Capabilities),
            "DescribeFeatureType" => Ok(Self::Describe { type_name: type_name()? }),
            "GetFeature" if get("resulttype") == Some("hits") => {
                Ok(Self::Hits { type_name: type_name()? })
            }
            "GetFeature" => {
                if !get("outputformat").is_some_and(|format| format.contains("json")) {
                    let text = "this sample gives application/json only";
                    return Err(Exception::new("InvalidParameterValue", "outputFormat", text));
                }
                let page = Page {
                    count: number("count", usize::MAX)?,
                    start_index: number("startindex", 0)?,
                    srs: get("srsname").map(str::to_owned),
                    sort_by: get("sortby").filter(|name| !name.is_empty()).map(str::to_owned),
                };
                if page.start_index > 0 && page.sort_by.is_none() {
                    let text = "Cannot do natural order without a primary key, please add it or \
                                specify a manual sort over existing attributes";
                    return Err(Exception::new("NoApplicableCode", "", text));
                }
                Ok(Self::Features { type_name: type_name()?, page })
            }
            other => {
                let text = format!("{other} is not served");
                Err(Exception::new("OperationNotSupported", "request", text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Query;

    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let page = |count, start_index, sort_by: Option<&str>| Request::Features {
            type_name: "a:b".into(),
            page: Page { count, start_index, sort_by: sort_by.map(str::to_owned), srs: None },
        };
        let features = "service=WFS&version=2.0.0&request=GetFeature&typeNames=a%3Ab";
        for (query, expected) in [
            ("SERVICE=WFS&REQUEST=GetCapabilities".to_owned(), Ok(Request::Capabilities)),
            (
                format!(
                    "{features}&outputFormat=application%2Fjson&count=5&startIndex=10&sortBy=c"
                ),
                Ok(page(5, 10, Some("c"))),
            ),
            (format!("{features}&resultType=hits"), Ok(Request::Hits { type_name: "a:b".into() })),
            (features.to_owned(), Err("InvalidParameterValue")),
            (format!("{features}&outputFormat=json&startIndex=1"), Err("NoApplicableCode")),
            ("request=GetFeature".to_owned(), Err("MissingParameterValue")),
            ("service=WFS&request=Transaction".to_owned(), Err("OperationNotSupported")),
        ] {
            let uri = format!("http://sample/wfs?{query}").parse().unwrap();
            let Query(pairs) = Query::try_from_uri(&uri).unwrap();
            assert_eq!(Request::read(pairs).map_err(|error| error.code), expected, "{query}");
        }
    }
}
