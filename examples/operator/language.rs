//! In which language a document is written, by the name of its file, the media type of its request,
//! or its look.

use std::path::Path;

/// What bytes may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Json,
    Yaml,
    /// One `scale NAME to N in ns NAMESPACE` a line.
    Commands,
}

impl Language {
    /// How the names of files end that hold one.
    pub(crate) const EXTENSIONS: [&str; 4] = ["json", "yaml", "yml", "txt"];

    /// By the end of a file's name, in any case.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_ascii_lowercase();
        match extension.to_str()? {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "txt" => Some(Self::Commands),
            _ => None,
        }
    }

    /// By what a request says of its body. Many clients say something whatever they send (`curl`: a
    /// form), so only what names JSON or YAML is believed.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        let kind = media_type.rsplit(['/', '+']).next()?;
        match kind.strip_prefix("x-").unwrap_or(kind) {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// By the look of the bytes: a bracket begins JSON, the word `scale` a command. All else is YAML.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start();
        let word = bytes.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        match word {
            [b'{' | b'[', ..] => Self::Json,
            word if word.eq_ignore_ascii_case(b"scale") => Self::Commands,
            _ => Self::Yaml,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Language::{Commands, Json, Yaml};

    #[test]
    fn a_file_says_it_by_its_name() {
        for extension in Language::EXTENSIONS {
            assert!(Language::of_file(Path::new(&format!("a.{extension}"))).is_some());
        }
        assert_eq!(Language::of_file(Path::new("a/b.YML")), Some(Yaml));
        for other in ["json", "a.md", "a.json.tmp", ".json"] {
            assert_eq!(Language::of_file(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn a_request_is_believed_when_it_names_json_or_yaml() {
        for (media_type, language) in [
            ("application/json", Some(Json)),
            ("application/vnd.nephoran.intent+json", Some(Json)),
            ("application/yaml", Some(Yaml)),
            ("text/x-yaml", Some(Yaml)),
            ("text/plain", None),
            ("application/x-www-form-urlencoded", None),
            ("", None),
        ] {
            assert_eq!(Language::of_media_type(media_type), language, "{media_type}");
        }
    }

    #[test]
    fn bytes_show_what_they_are() {
        for (text, language) in [
            ("{}", Json),
            ("\n [1]", Json),
            ("\u{feff}{}", Json),
            ("scale web to 3 in ns lab", Commands),
            ("  SCALE\tweb", Commands),
            ("scale: 3", Yaml),
            ("scales", Yaml),
            ("kind: NetworkIntent", Yaml),
            ("", Yaml),
        ] {
            assert_eq!(Language::of_bytes(text.as_bytes()), language, "{text:?}");
        }
    }
}
