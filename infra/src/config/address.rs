//! Addresses: of the log, of the store, of sources, and those to listen on.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use url::Url;

use super::secret::Secret;

/// Who we are, as a URL told it: `user:password@`.
#[derive(Clone, Debug, PartialEq)]
pub struct Userinfo {
    /// The user.
    pub user: String,
    /// The password, if one was given.
    pub password: Option<Secret>,
}

/// An HTTP address; what stood before its `@` is kept apart, and never shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl {
    /// The address without userinfo and without a slash at the end.
    pub base: String,
    /// Who we are, if the URL told it.
    pub userinfo: Option<Userinfo>,
}

/// Where the event log is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LogUrl {
    /// `sqlite:PATH`.
    Sqlite(PathBuf),
    /// `kafka://host:port,host:port`.
    Kafka {
        /// The brokers to begin with, `host:port` each, separated by commas.
        brokers: String,
        /// Who we are, if the URL told it.
        userinfo: Option<Userinfo>,
    },
}

/// Where the document store is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreUrl {
    /// `sqlite:PATH`.
    Sqlite(PathBuf),
    /// `http(s)://host:port`: CouchDB.
    Couch(HttpUrl),
}

/// An address to listen on: `IP:PORT` or `localhost:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub SocketAddr);

impl Listen {
    /// A port of this machine's loopback.
    pub const fn loopback(port: u16) -> Self {
        Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // The text itself is left out of the message: it may hold a password.
        let mut url = Url::parse(&text)
            .map_err(|error| format!("not a URL ({error}); expected http(s)://host:port/path"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the scheme is {}:, expected http: or https:", url.scheme()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "a query or fragment has no meaning here; leave out all from ? or # on".into()
            );
        }
        let userinfo = userinfo(url.username(), url.password())?;
        let clean = url.set_username("").and_then(|()| url.set_password(None));
        clean.map_err(|()| "the URL has no host".to_owned())?;
        Ok(Self { base: url.as_str().trim_end_matches('/').to_owned(), userinfo })
    }
}

impl TryFrom<String> for LogUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(path) = sqlite_path(&text)? {
            return Ok(Self::Sqlite(path));
        }
        let Some(rest) = text.strip_prefix("kafka://") else {
            return Err("expected sqlite:PATH or kafka://host:port,host:port".into());
        };
        let (before, brokers) = match rest.rsplit_once('@') {
            Some((before, brokers)) => (before, brokers),
            None => ("", rest),
        };
        let (user, password) = match before.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (before, None),
        };
        let brokers = brokers.trim_end_matches('/');
        for (at, broker) in brokers.split(',').enumerate() {
            let port = broker.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none() {
                // Without an @ it may be user:password: it is not shown.
                return Err(format!("broker {} is not host:port, such as kafka:9092", at + 1));
            }
        }
        Ok(Self::Kafka { brokers: brokers.to_owned(), userinfo: userinfo(user, password)? })
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(path) = sqlite_path(&text)? {
            return Ok(Self::Sqlite(path));
        }
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Err("expected sqlite:PATH, http://host:port or https://host:port".into());
        }
        HttpUrl::try_from(text).map(Self::Couch)
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numeric = match text.strip_prefix("localhost:") {
            Some(port) => Cow::Owned(format!("127.0.0.1:{port}")),
            None => Cow::Borrowed(text.as_str()),
        };
        numeric
            .parse()
            .map(Self)
            .map_err(|_| format!("{text:?} is not IP:PORT, such as 127.0.0.1:7600 or [::1]:7600"))
    }
}

fn sqlite_path(text: &str) -> Result<Option<PathBuf>, String> {
    match text.strip_prefix("sqlite:") {
        None => Ok(None),
        Some("") => {
            Err("sqlite: needs a path, such as sqlite:/var/lib/bowerbird/log.sqlite".into())
        }
        Some(path) => Ok(Some(PathBuf::from(path))),
    }
}

fn userinfo(user: &str, password: Option<&str>) -> Result<Option<Userinfo>, String> {
    if user.is_empty() && password.is_none() {
        return Ok(None);
    }
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded.map(Cow::into_owned).map_err(|_| "user or password is not UTF-8".to_owned())
    };
    let password = password.map(decode).transpose()?.map(Secret::new);
    Ok(Some(Userinfo { user: decode(user)?, password }))
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Display for LogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Kafka { brokers, .. } => write!(f, "kafka://{brokers}"),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Couch(url) => url.fmt(f),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Shows as text (without userinfo), and reads in the schema as text of this format.
macro_rules! as_text {
    ($($kind:ident $format:literal)+) => {$(
        impl From<$kind> for String {
            fn from(value: $kind) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format })
            }
        }
    )+};
}

as_text! { HttpUrl "url" LogUrl "url" StoreUrl "url" Listen "listen" }

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn userinfo_is_taken_out_decoded_and_never_shown() {
        for (text, shown) in [
            ("http://ada:p%40ss@couch.example:5984/", "http://couch.example:5984"),
            ("https://ada:p%40ss@couch.example/db/", "https://couch.example/db"),
        ] {
            let url = StoreUrl::try_from(text.to_owned()).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("p@ss"));
            let StoreUrl::Couch(HttpUrl { userinfo: Some(who), .. }) = url else {
                panic!("{text}")
            };
            assert_eq!(who.user, "ada");
            assert_eq!(who.password.unwrap().get().expose_secret(), "p@ss");
        }
        let url = LogUrl::try_from("kafka://ada:secret@one:9092,two:9093".to_owned()).unwrap();
        assert_eq!(url.to_string(), "kafka://one:9092,two:9093");
        assert!(!format!("{url:?}").contains("secret"));
    }

    #[test]
    fn wrong_addresses_say_what_is_expected_and_show_no_password() {
        for (text, says) in [
            ("kafka://one", "host:port"),
            ("kafka://u:secret@one:x", "host:port"),
            ("redis://one:1", "sqlite:PATH or kafka://"),
            ("sqlite:", "needs a path"),
        ] {
            let error = LogUrl::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for (text, says) in [
            ("http://u:secret@:80", "not a URL"),
            ("couch.example:5984", "http://host:port"),
            ("http://u:secret@host/?q=1", "query"),
        ] {
            let error = StoreUrl::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn listens_on_ip_and_port() {
        assert_eq!(Listen::try_from("localhost:0".to_owned()), Ok(Listen::loopback(0)));
        assert!(Listen::try_from("[::1]:80".to_owned()).is_ok());
        assert!(Listen::try_from("7600".to_owned()).unwrap_err().contains("IP:PORT"));
    }
}
