//! What a server says may hold what it was told: its words go to the journal and to logs, and the token
//! must not.

use secrecy::{ExposeSecret, SecretString};

/// What is shorter stands in words by chance, and is nobody's token.
const SHORTEST: usize = 8;
const HIDDEN: &str = "[x.bearer_token]";

/// A text of the server's, without the token.
pub fn hidden(text: &str, token: &SecretString) -> String {
    match token.expose_secret() {
        token if token.len() < SHORTEST => text.to_owned(),
        token => text.replace(token, HIDDEN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_hidden_wherever_it_stands() {
        for (token, text, expected) in [
            (
                "AAAA%2Bsecret",
                "no: AAAA%2Bsecret, AAAA%2Bsecret!",
                "no: [x.bearer_token], [x.bearer_token]!",
            ),
            ("AAAA%2Bsecret", "no", "no"),
            ("no", "no", "no"),
            ("", "no", "no"),
        ] {
            assert_eq!(hidden(text, &token.to_owned().into()), expected);
        }
    }
}
