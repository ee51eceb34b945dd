//! As much of structured fields (RFC 9651, section 4.2) as rate limits need: a list of items, and
//! of their parameters the integers. Everything else is checked and skipped.

/// One member of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) value: Bare<'a>,
    /// Those that came after it, checked.
    parameters: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare<'a> {
    Integer(i64),
    /// A string with its escapes, or a token.
    Text(&'a str),
    Other,
}

/// Something breaks the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Member<'a> {
    /// The parameter of this name, the last one if there are several. `None`: there is none.
    pub(super) fn parameter(&self, name: &str) -> Option<Bare<'a>> {
        let mut cursor = Cursor(self.parameters);
        let mut found = None;
        while let Ok(Some((key, value))) = cursor.parameter() {
            if key == name {
                found = Some(value);
            }
        }
        found
    }
}

/// The members of one line. After something malformed nothing follows.
pub(super) fn members(line: &str) -> impl Iterator<Item = Result<Member<'_>, Malformed>> {
    let mut cursor = Cursor(line.trim_matches(' '));
    let mut is_done = cursor.0.is_empty();
    std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let member = cursor.member().and_then(|member| match cursor.comma() {
            Ok(more) => {
                is_done = !more;
                Ok(member)
            }
            Err(malformed) => Err(malformed),
        });
        is_done |= member.is_err();
        Some(member)
    })
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn member(&mut self) -> Result<Member<'a>, Malformed> {
        let value = self.bare()?;
        let from = self.0;
        while self.parameter()?.is_some() {}
        Ok(Member { value, parameters: &from[..from.len() - self.0.len()] })
    }

    /// Whether another member comes.
    fn comma(&mut self) -> Result<bool, Malformed> {
        let blank = [' ', '\t'];
        self.0 = self.0.trim_start_matches(blank);
        if self.0.is_empty() {
            return Ok(false);
        }
        self.0 = self.0.strip_prefix(',').ok_or(Malformed)?.trim_start_matches(blank);
        if self.0.is_empty() { Err(Malformed) } else { Ok(true) }
    }

    /// The next parameter; one without a value is true, which is none of ours.
    fn parameter(&mut self) -> Result<Option<(&'a str, Bare<'a>)>, Malformed> {
        let Some(rest) = self.0.strip_prefix(';') else { return Ok(None) };
        self.0 = rest.trim_start_matches(' ');
        if !self.0.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') {
            return Err(Malformed);
        }
        let key =
            self.take(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b));
        match self.0.strip_prefix('=') {
            Some(rest) => {
                self.0 = rest;
                Ok(Some((key, self.bare()?)))
            }
            None => Ok(Some((key, Bare::Other))),
        }
    }

    fn bare(&mut self) -> Result<Bare<'a>, Malformed> {
        match self.0.bytes().next().ok_or(Malformed)? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(Bare::Text),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => Ok(Bare::Text(self.take(is_token))),
            b':' => self.bytes(),
            b'?' => self.skip(2, |rest| rest.starts_with("?0") || rest.starts_with("?1")),
            b'@' => {
                self.0 = &self.0[1..];
                match self.number()? {
                    Bare::Integer(_) => Ok(Bare::Other),
                    _ => Err(Malformed),
                }
            }
            b'%' => {
                self.0 = &self.0[1..];
                self.display_string()
            }
            // An inner list is no item, and nothing else begins one.
            _ => Err(Malformed),
        }
    }

    /// An integer of at most 15 digits; a decimal, of 12 and 3, is skipped.
    fn number(&mut self) -> Result<Bare<'a>, Malformed> {
        let is_negative = self.0.starts_with('-');
        self.0 = self.0.strip_prefix('-').unwrap_or(self.0);
        let whole = self.take(|b| b.is_ascii_digit());
        if let Some(rest) = self.0.strip_prefix('.') {
            self.0 = rest;
            let part = self.take(|b| b.is_ascii_digit());
            let fits = (1..=12).contains(&whole.len()) && (1..=3).contains(&part.len());
            return if fits { Ok(Bare::Other) } else { Err(Malformed) };
        }
        if whole.len() > 15 {
            return Err(Malformed);
        }
        let number: i64 = whole.parse().map_err(|_| Malformed)?;
        Ok(Bare::Integer(if is_negative { -number } else { number }))
    }

    /// What stands between the quotes.
    fn string(&mut self) -> Result<&'a str, Malformed> {
        let text = &self.0[1..];
        let mut bytes = text.bytes().enumerate();
        while let Some((at, b)) = bytes.next() {
            match b {
                b'"' => {
                    self.0 = &text[at + 1..];
                    return Ok(&text[..at]);
                }
                b'\\' if !matches!(bytes.next(), Some((_, b'"' | b'\\'))) => return Err(Malformed),
                b' '..=b'~' => {}
                _ => return Err(Malformed),
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self) -> Result<Bare<'a>, Malformed> {
        self.0 = &self.0[1..];
        self.take(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
        self.skip(1, |rest| rest.starts_with(':'))
    }

    /// `"` and text in which `%` and two lower-case hexadecimal digits are a byte; whether those
    /// are UTF-8 is nobody's business here.
    fn display_string(&mut self) -> Result<Bare<'a>, Malformed> {
        let mut bytes = self.0.bytes().enumerate().skip(1);
        if !self.0.starts_with('"') {
            return Err(Malformed);
        }
        let is_hex = |digit| matches!(digit, Some((_, b'0'..=b'9' | b'a'..=b'f')));
        while let Some((at, b)) = bytes.next() {
            match b {
                b'"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(Bare::Other);
                }
                b'%' if !(is_hex(bytes.next()) && is_hex(bytes.next())) => return Err(Malformed),
                b' '..=b'~' => {}
                _ => return Err(Malformed),
            }
        }
        Err(Malformed)
    }

    fn skip(
        &mut self,
        bytes: usize,
        is_there: impl FnOnce(&str) -> bool,
    ) -> Result<Bare<'a>, Malformed> {
        if !is_there(self.0) {
            return Err(Malformed);
        }
        self.0 = &self.0[bytes..];
        Ok(Bare::Other)
    }

    /// All that comes now and is such.
    fn take(&mut self, is_such: impl Fn(u8) -> bool) -> &'a str {
        let end = self.0.bytes().position(|b| !is_such(b)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b)
}
