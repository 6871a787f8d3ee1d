//! Who we are to each part that may ask, and which secret of it is missing.

use std::path::Path;

use super::address::{LogUrl, StoreUrl, Userinfo};
use super::load::Loaded;
use super::secret::Secret;
use super::{Config, key};
use crate::error::Problem;

/// A part that may ask who we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Kafka.
    Log,
    /// CouchDB.
    Store,
    /// X: a bearer token, no user.
    X,
    /// AURIN's WFS.
    Aurin,
}

/// A user, and the password if it is known.
type Login<'a> = (&'a str, Option<&'a Secret>);

impl Account {
    /// The user and the password, where both are configured.
    pub fn login(self, config: &Config) -> Option<(&str, &Secret)> {
        let (user, password) = self.half_login(config)?;
        Some((user, password?))
    }

    fn half_login(self, config: &Config) -> Option<Login<'_>> {
        let Config { log, store, aurin, .. } = config;
        match self {
            Self::Log => {
                let Some(LogUrl::Kafka { userinfo, .. }) = &log.url else { return None };
                login(log.user.as_deref(), log.password.as_ref(), userinfo.as_ref())
            }
            Self::Store => {
                let Some(StoreUrl::Couch(url)) = &store.url else { return None };
                login(store.user.as_deref(), store.password.as_ref(), url.userinfo.as_ref())
            }
            Self::Aurin => {
                let userinfo = aurin.base_url.userinfo.as_ref();
                login(aurin.user.as_deref(), aurin.password.as_ref(), userinfo)
            }
            Self::X => None,
        }
    }

    /// The secret that this part will ask for and that is not configured.
    pub fn missing(self, loaded: &Loaded) -> Option<MissingSecret> {
        let config = &loaded.config;
        let what = match (self, self.half_login(config)) {
            (Self::X, _) if config.x.bearer_token.is_none() => "the bearer token for X".to_owned(),
            // Nobody is asked.
            (Self::Aurin, _) if config.aurin.datasets.is_empty() => return None,
            (_, Some((user, None))) => format!("the password of {user} for {}", self.place(config)),
            _ => return None,
        };
        Some(MissingSecret { account: self, what })
    }

    /// Puts in what was missing.
    pub fn supply(self, config: &mut Config, secret: Secret) {
        let slot = match self {
            Self::Log => &mut config.log.password,
            Self::Store => &mut config.store.password,
            Self::X => &mut config.x.bearer_token,
            Self::Aurin => &mut config.aurin.password,
        };
        *slot = Some(secret);
    }

    /// The file from which the secret was read, where it was.
    pub fn file(self, loaded: &Loaded) -> Option<&Path> {
        let Config { log, store, x, aurin, .. } = &loaded.config;
        let named = match self {
            Self::Log => &log.password_file,
            Self::Store => &store.password_file,
            Self::X => &x.bearer_token_file,
            Self::Aurin => &aurin.password_file,
        };
        let (section, key) = self.section_and_key();
        // One that is set directly goes before it.
        let direct = loaded.origins.contains_key(&format!("{section}.{key}"));
        named.as_deref().filter(|_| !direct)
    }

    fn place(self, config: &Config) -> String {
        let place = match self {
            Self::Log => config.log.url.as_ref().map(ToString::to_string),
            Self::Store => config.store.url.as_ref().map(ToString::to_string),
            Self::X => Some(config.x.base_url.to_string()),
            Self::Aurin => Some(config.aurin.base_url.to_string()),
        };
        place.unwrap_or_default()
    }

    fn section_and_key(self) -> (&'static str, &'static str) {
        match self {
            Self::Log => ("log", "password"),
            Self::Store => ("store", "password"),
            Self::X => ("x", "bearer_token"),
            Self::Aurin => ("aurin", "password"),
        }
    }
}

/// As the keys say, else as the address does; the half of a login goes behind a whole one.
fn login<'a>(
    user: Option<&'a str>,
    password: Option<&'a Secret>,
    userinfo: Option<&'a Userinfo>,
) -> Option<Login<'a>> {
    let keys = user.map(|user| (user, password));
    let address = userinfo.map(|who| (who.user.as_str(), password.or(who.password.as_ref())));
    match (keys, address) {
        (Some((_, None)), whole @ Some((_, Some(_)))) => whole,
        (keys, address) => keys.or(address),
    }
}

/// A secret that is needed and not configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingSecret {
    /// Whose it is.
    pub account: Account,
    /// What it is, to ask for it: `the password of ada for http://couchdb:5984`.
    pub what: String,
}

impl MissingSecret {
    /// What to do where nobody can be asked.
    pub fn problem(&self) -> Problem {
        let (section, key) = self.account.section_and_key();
        let variable = key::section(section)
            .and_then(|section| Some(section.variable(section.key(key)?)))
            .unwrap_or_default();
        let mut message = format!(
            "{} is not configured: set {variable} in the environment, or name a file that holds \
             it by {section}.{key}_file; on a terminal it would be asked for",
            self.what
        );
        if self.account == Account::X {
            message += "; to try things without one, `bowerbird up` harvests a simulator, or point \
                        x.base_url at a `bowerbird sim x`, which takes any token";
        }
        Problem { place: format!("{section}.{key}"), message }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::config::load;

    fn loaded(variables: &[(&str, &str)]) -> Loaded {
        let variables = variables
            .iter()
            .map(|(name, value)| (format!("BOWERBIRD__{name}"), (*value).to_owned()));
        load(None, variables).unwrap()
    }

    #[test]
    fn the_keys_go_before_the_address_and_a_whole_login_before_a_half() {
        let url = |userinfo| format!("http://{userinfo}couch:5984");
        for (userinfo, user, password, expected) in [
            ("", "", "", None),
            ("ada:one@", "", "", Some(("ada", Some("one")))),
            ("ada@", "", "two", Some(("ada", Some("two")))),
            ("ada@", "", "", Some(("ada", None))),
            ("", "bea", "", Some(("bea", None))),
            ("ada:one@", "bea", "two", Some(("bea", Some("two")))),
            ("ada:one@", "bea", "", Some(("ada", Some("one")))),
        ] {
            let loaded = loaded(&[
                ("STORE__URL", &url(userinfo)),
                ("STORE__USER", user),
                ("STORE__PASSWORD", password),
            ]);
            let secret = |secret: &Secret| secret.get().expose_secret().to_owned();
            let found = Account::Store.half_login(&loaded.config);
            let found = found.map(|(user, password)| (user.to_owned(), password.map(secret)));
            let expected =
                expected.map(|(user, password)| (user.to_owned(), password.map(str::to_owned)));
            assert_eq!(found, expected, "{userinfo} {user} {password}");
            let missing = matches!(expected, Some((_, None)));
            assert_eq!(Account::Store.missing(&loaded).is_some(), missing);
            assert_eq!(Account::Store.login(&loaded.config).is_none(), missing || found.is_none());
        }
    }

    #[test]
    fn what_is_missing_is_named_and_can_be_supplied() {
        let dataset =
            "[[aurin.datasets]]\ntype_name='a'\nid_property='b'\nlicence='c'\nattribution='d'";
        let variables = [
            ("LOG__URL", "kafka://ada@kafka:9092"),
            ("STORE__URL", "http://ada@couch:5984"),
            ("AURIN__USER", "ada"),
        ];
        let variables =
            variables.map(|(name, value)| (format!("BOWERBIRD__{name}"), value.to_owned()));
        let mut loaded = load(Some(("f".as_ref(), dataset)), variables).unwrap();
        for (account, what, variable) in [
            (Account::Log, "ada for kafka://kafka:9092", "BOWERBIRD__LOG__PASSWORD"),
            (Account::Store, "ada for http://couch:5984", "BOWERBIRD__STORE__PASSWORD"),
            (Account::Aurin, "ada for https://", "BOWERBIRD__AURIN__PASSWORD"),
            (Account::X, "the bearer token for X", "BOWERBIRD__X__BEARER_TOKEN"),
        ] {
            let missing = account.missing(&loaded).unwrap();
            assert!(missing.what.contains(what), "{missing:?}");
            let problem = missing.problem().to_string();
            assert!(problem.contains(variable) && problem.contains("_file"), "{problem}");
            account.supply(&mut loaded.config, Secret::new("hunter2"));
            assert_eq!(account.missing(&loaded), None);
        }
    }

    #[test]
    fn a_file_counts_where_the_secret_is_not_set_directly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        let named = path.to_str().unwrap();
        let read = loaded(&[("X__BEARER_TOKEN_FILE", named)]);
        assert_eq!(Account::X.file(&read), Some(&*path));
        assert_eq!(read.config.x.bearer_token, Some(Secret::new("hunter2")));
        assert_eq!(Account::Aurin.file(&read), None);
        let file = format!("[x]\nbearer_token_file = '{named}'\n");
        let direct = [("BOWERBIRD__X__BEARER_TOKEN".to_owned(), "other".to_owned())];
        let direct = load(Some(("f".as_ref(), &file)), direct).unwrap();
        assert_eq!(Account::X.file(&direct), None);
    }

    #[test]
    fn what_nobody_asks_for_is_not_missing() {
        let loaded =
            loaded(&[("LOG__USER", "ada"), ("STORE__USER", "ada"), ("AURIN__USER", "ada")]);
        for account in [Account::Log, Account::Store, Account::Aurin] {
            assert_eq!(account.missing(&loaded), None);
        }
    }
}
