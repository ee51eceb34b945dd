//! Who may use the HTTP intake: tokens from a file, as a mounted Secret is one.

use std::path::{Path, PathBuf};

use headworks::ConfigError;
use headworks::intake::http::StaticTokens;

/// Why a file of tokens is none. Says nothing of a token but its place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("cannot read the tokens in {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: must be a tenant and its token, with a space between", path.display())]
    Line { path: PathBuf, line: usize },
    #[error("{}:{line}", path.display())]
    Token { path: PathBuf, line: usize, source: ConfigError },
    #[error("{} holds no token", path.display())]
    None { path: PathBuf },
}

/// Reads `TENANT TOKEN` lines; empty ones, and those that begin with `#`, say nothing.
///
/// # Errors
/// [`TokenError`] names file and line.
pub(crate) fn read(file: &Path) -> Result<StaticTokens, TokenError> {
    let path = || file.to_owned();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|source| TokenError::Read { path: path(), source })?;
    let (mut tokens, mut found) = (StaticTokens::new(), false);
    for (line, words) in (1..).zip(text.lines().map(str::trim)) {
        if words.is_empty() || words.starts_with('#') {
            continue;
        }
        let (tenant, token) = words
            .split_once(char::is_whitespace)
            .ok_or_else(|| TokenError::Line { path: path(), line })?;
        let with = tokens.with(token.trim_start(), tenant);
        tokens = with.map_err(|source| TokenError::Token { path: path(), line, source })?;
        found = true;
    }
    if found { Ok(tokens) } else { Err(TokenError::None { path: path() }) }
}

#[cfg(test)]
mod tests {
    use headworks::intake::http::{Bearer, Denied};

    use super::*;
    use crate::problem::with_causes;

    fn of(text: &str) -> Result<StaticTokens, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, text).unwrap();
        let error = |error| with_causes(&error).replace(&path.display().to_string(), "FILE");
        read(&path).map_err(error)
    }

    #[tokio::test]
    async fn a_token_opens_as_its_tenant_and_no_other_does() {
        let tokens =
            of("# who\nplanner  8fd0c2b1-cell-planner\n\nops 8fd0c2b1-cell-ops-1\n").unwrap();
        let caller = tokens.caller("8fd0c2b1-cell-planner").await.unwrap();
        assert_eq!(&*caller.tenant, "planner");
        assert_eq!(tokens.caller("8fd0c2b1-cell-planne").await, Err(Denied::Unknown));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_line_and_never_shown() {
        for (text, error) in [
            ("# none\n", "FILE holds no token"),
            ("a 0123456789abcdef\nsecretsecretsecret\n", "FILE:2: must be a tenant and its token"),
            ("a secret\n", "FILE:1: intake.http.token is a token of 6 bytes, but must be"),
            ("a 0123456789abcdef secret\n", "FILE:1: intake.http.token"),
        ] {
            let said = of(text).unwrap_err();
            assert!(said.starts_with(error) && !said.contains("secret"), "{said}");
        }
        let error = with_causes(&read(Path::new("/none/here")).unwrap_err());
        assert!(error.starts_with("cannot read the tokens in /none/here: "), "{error}");
    }
}
