//! bash's words, as far as they can be told without running anything.

/// One command: the variables set for it, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<Word>,
}

/// A word, in parts.
pub(super) type Word = Vec<Part>;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that stays; `quoted` if it is none of bash's to change.
    Text { text: String, quoted: bool },
    /// `$name` or `${name}`, with what follows the name between the braces; quoted or not.
    Variable {
        name: String,
        change: String,
        quoted: bool,
    },
    /// `$(…)`.
    Output { command: String },
}

/// Commands that are run one after the other; those of one inner list are joined by pipes.
pub(super) type Line = Vec<Vec<Command>>;

/// Lines as bash sees them, with the number of the first of each: those that are continued are
/// joined, those that say nothing left out.
pub(super) fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, line) in text.lines().enumerate() {
        let (number, mut whole) = open.take().unwrap_or((n + 1, String::new()));
        if whole.is_empty() && line.trim_start().starts_with('#') {
            continue;
        }
        if let Some(begun) = line.strip_suffix('\\') {
            whole.push_str(begun);
            open = Some((number, whole));
            continue;
        }
        whole.push_str(line);
        let ended = whole.trim_end();
        if ended.ends_with("&&") || ended.ends_with('|') {
            whole.push(' ');
            open = Some((number, whole));
        } else if !ended.is_empty() {
            lines.push((number, whole));
        }
    }
    lines.extend(open);
    lines
}

/// The commands of a line, or what is not understood of it.
pub(super) fn commands(line: &str) -> Result<Line, String> {
    let mut lexer = Lexer {
        rest: line.chars().collect::<Vec<_>>().into_iter().peekable(),
    };
    let mut line: Line = vec![vec![Command { words: Vec::new() }]];
    while let Some(token) = lexer.token()? {
        let pipeline = line.last_mut().expect("there is always one");
        match token {
            Token::Word(word) => pipeline.last_mut().expect("one").words.push(word),
            Token::Pipe => pipeline.push(Command { words: Vec::new() }),
            Token::Next => line.push(vec![Command { words: Vec::new() }]),
        }
    }
    line.retain(|pipeline| pipeline.iter().any(|command| !command.words.is_empty()));
    if line
        .iter()
        .flatten()
        .any(|command| command.words.is_empty())
    {
        return Err("a pipe leads nowhere".to_owned());
    }
    Ok(line)
}

enum Token {
    Word(Word),
    Pipe,
    Next,
}

struct Lexer {
    rest: std::iter::Peekable<std::vec::IntoIter<char>>,
}

impl Lexer {
    fn token(&mut self) -> Result<Option<Token>, String> {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t')).is_some() {}
        let Some(c) = self.rest.peek().copied() else {
            return Ok(None);
        };
        match c {
            '#' => Ok(None),
            ';' => {
                self.rest.next();
                Ok(Some(Token::Next))
            }
            '&' => {
                self.rest.next();
                match self.rest.next() {
                    Some('&') => Ok(Some(Token::Next)),
                    _ => Err("what runs in the background is not followed".to_owned()),
                }
            }
            '|' => {
                self.rest.next();
                match self.rest.peek() {
                    Some('|') => Err("`||` is not followed".to_owned()),
                    Some('&') => Err("`|&` is not followed".to_owned()),
                    _ => Ok(Some(Token::Pipe)),
                }
            }
            '<' | '>' => Err("redirections are not followed".to_owned()),
            '(' | ')' => Err("subshells and functions are not followed".to_owned()),
            _ => self.word().map(|word| Some(Token::Word(word))),
        }
    }

    fn word(&mut self) -> Result<Word, String> {
        let mut word = Vec::new();
        while let Some(c) = self.rest.peek().copied() {
            match c {
                ' ' | '\t' | ';' | '&' | '|' => break,
                '<' | '>' => return Err("redirections are not followed".to_owned()),
                '(' | ')' => return Err("subshells and functions are not followed".to_owned()),
                '`' => return Err("backquotes are not followed".to_owned()),
                '\'' => {
                    self.rest.next();
                    let text = self.until('\'')?;
                    word.push(Part::Text { text, quoted: true });
                }
                '"' => {
                    self.rest.next();
                    self.quoted(&mut word)?;
                }
                '\\' => {
                    self.rest.next();
                    let text: String = self.rest.next().into_iter().collect();
                    word.push(Part::Text { text, quoted: true });
                }
                '$' => word.push(self.expansion(false)?),
                _ => {
                    self.rest.next();
                    add(&mut word, c, false);
                }
            }
        }
        Ok(word)
    }

    fn quoted(&mut self, word: &mut Word) -> Result<(), String> {
        let text = String::new();
        word.push(Part::Text { text, quoted: true });
        loop {
            match self.rest.peek().copied() {
                None => return Err("a quotation does not end on its line".to_owned()),
                Some('"') => {
                    self.rest.next();
                    return Ok(());
                }
                Some('`') => return Err("backquotes are not followed".to_owned()),
                Some('$') => word.push(self.expansion(true)?),
                Some('\\') => {
                    self.rest.next();
                    let next = self.rest.next().unwrap_or('\\');
                    if !matches!(next, '$' | '`' | '"' | '\\') {
                        add(word, '\\', true);
                    }
                    add(word, next, true);
                }
                Some(c) => {
                    self.rest.next();
                    add(word, c, true);
                }
            }
        }
    }

    /// What follows a `$`.
    fn expansion(&mut self, quoted: bool) -> Result<Part, String> {
        self.rest.next();
        match self.rest.peek().copied() {
            Some('(') => {
                self.rest.next();
                let command = self.until(')')?;
                if command.contains(['(', '`']) {
                    return Err("commands inside commands are not followed".to_owned());
                }
                Ok(Part::Output { command })
            }
            Some('{') => {
                self.rest.next();
                let inner = self.until('}')?;
                let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let (name, change) = inner.split_at(end.unwrap_or(inner.len()));
                if name.is_empty() {
                    return Err(format!("`${{{inner}}}` is not followed"));
                }
                let (name, change) = (name.to_owned(), change.to_owned());
                Ok(Part::Variable {
                    name,
                    change,
                    quoted,
                })
            }
            Some(c) if c.is_ascii_digit() => {
                self.rest.next();
                let (name, change) = (c.to_string(), String::new());
                Ok(Part::Variable {
                    name,
                    change,
                    quoted,
                })
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                while let Some(c) = self.rest.next_if(is_name) {
                    name.push(c);
                }
                let change = String::new();
                Ok(Part::Variable {
                    name,
                    change,
                    quoted,
                })
            }
            Some(c) => Err(format!("`${c}` is not followed")),
            None => Err("a `$` stands alone".to_owned()),
        }
    }

    fn until(&mut self, end: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some(c) if c == end => return Ok(text),
                Some(c) => text.push(c),
                None => return Err(format!("`{end}` is missing on the line")),
            }
        }
    }
}

fn add(word: &mut Word, c: char, quoted: bool) {
    match word.last_mut() {
        Some(Part::Text { text, quoted: same }) if *same == quoted => text.push(c),
        _ => {
            let text = c.to_string();
            word.push(Part::Text { text, quoted });
        }
    }
}
