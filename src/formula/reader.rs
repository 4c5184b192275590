//! Reads TOML tables key by key and notes every mistake of shape with its place.
//!
//! serde stops at the first mistake; a person who edits a formula wants to see all of them. So
//! the document is parsed into toml's own spanned tree and walked by hand.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::nearest;

use super::sheet::{Sheet, did_you_mean};

/// A table being read. Every key that is asked for counts as known; [`Table::finish`] notes the
/// rest as mistakes.
pub(super) struct Table<'t> {
    what: &'static str,
    span: Range<usize>,
    entries: BTreeMap<&'t str, (Range<usize>, &'t Spanned<DeValue<'t>>)>,
    asked: Vec<String>,
    missing: Vec<String>,
}

/// Parses a document. Mistakes of syntax are noted; then there is nothing to read.
pub(super) fn parse<'t>(text: &'t str, sheet: &mut Sheet) -> Option<Spanned<DeTable<'t>>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(document);
    }
    for error in errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        sheet.problem(
            span,
            "here",
            format!("this is not TOML: {}", error.message()),
            None,
        );
    }
    None
}

impl<'t> Table<'t> {
    pub(super) fn new(what: &'static str, span: Range<usize>, table: &'t DeTable<'t>) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), (key.span(), value)))
            .collect();
        Self {
            what,
            span,
            entries,
            asked: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Where the table is: its header, or the whole of an inline table.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn take(&mut self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.asked.push(key.to_owned());
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// A string, if the key is there.
    pub(super) fn string(&mut self, key: &str, sheet: &mut Sheet) -> Option<Spanned<String>> {
        as_string(key, "a string", self.take(key)?, sheet)
    }

    /// A string that must be there.
    pub(super) fn needs_string(&mut self, key: &str, sheet: &mut Sheet) -> Option<Spanned<String>> {
        self.needs(key).then(|| self.string(key, sheet))?
    }

    /// An integer that must be there.
    pub(super) fn needs_integer(&mut self, key: &str, sheet: &mut Sheet) -> Option<Spanned<i64>> {
        if !self.needs(key) {
            return None;
        }
        let value = self.take(key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        if number.is_none() {
            wrong_type(key, "an integer", value, sheet);
        }
        Some(Spanned::new(value.span(), number?))
    }

    /// `true` or `false`, if the key is there.
    pub(super) fn boolean(&mut self, key: &str, sheet: &mut Sheet) -> Option<bool> {
        let value = self.take(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            wrong_type(key, "`true` or `false`", value, sheet);
        }
        boolean
    }

    /// A list of strings, if the key is there.
    pub(super) fn strings(
        &mut self,
        key: &str,
        sheet: &mut Sheet,
    ) -> Option<Spanned<Vec<Spanned<String>>>> {
        let value = self.take(key)?;
        let Some(array) = value.get_ref().as_array() else {
            wrong_type(key, "a list of strings", value, sheet);
            return None;
        };
        let items = array
            .iter()
            .filter_map(|item| as_string(key, "a list of strings", item, sheet))
            .collect();
        Some(Spanned::new(value.span(), items))
    }

    /// A list of strings that must be there.
    pub(super) fn needs_strings(
        &mut self,
        key: &str,
        sheet: &mut Sheet,
    ) -> Option<Spanned<Vec<Spanned<String>>>> {
        self.needs(key).then(|| self.strings(key, sheet))?
    }

    /// A table, if the key is there.
    pub(super) fn table(
        &mut self,
        key: &str,
        what: &'static str,
        sheet: &mut Sheet,
    ) -> Option<Table<'t>> {
        as_table(key, what, self.take(key)?, sheet)
    }

    /// A list of tables, if the key is there.
    pub(super) fn tables(
        &mut self,
        key: &str,
        what: &'static str,
        sheet: &mut Sheet,
    ) -> Option<Spanned<Vec<Table<'t>>>> {
        let value = self.take(key)?;
        let Some(array) = value.get_ref().as_array() else {
            wrong_type(key, "a list of tables", value, sheet);
            return None;
        };
        let items = array
            .iter()
            .filter_map(|item| as_table(key, what, item, sheet))
            .collect();
        Some(Spanned::new(value.span(), items))
    }

    /// A date without a time, that must be there.
    pub(super) fn needs_date(
        &mut self,
        key: &str,
        sheet: &mut Sheet,
    ) -> Option<Spanned<toml::value::Date>> {
        self.needs(key).then(|| self.date(key, sheet))?
    }

    /// A date without a time, if the key is there.
    pub(super) fn date(
        &mut self,
        key: &str,
        sheet: &mut Sheet,
    ) -> Option<Spanned<toml::value::Date>> {
        let value = self.take(key)?;
        let date = value
            .get_ref()
            .as_datetime()
            .filter(|d| d.time.is_none() && d.offset.is_none())
            .and_then(|d| d.date);
        if date.is_none() {
            wrong_type(key, "a date (`2024-08-13`, without quotes)", value, sheet);
        }
        Some(Spanned::new(value.span(), date?))
    }

    /// A string or a number, as text, if the key is there.
    pub(super) fn word(&mut self, key: &str, sheet: &mut Sheet) -> Option<Spanned<String>> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::Integer(number) => Some(Spanned::new(value.span(), number.to_string())),
            _ => as_string(key, "a string or a number", value, sheet),
        }
    }

    /// The keys not yet asked for, in the order in which the file has them.
    pub(super) fn rest(&self) -> Vec<Spanned<String>> {
        let mut keys: Vec<_> = self
            .entries
            .iter()
            .map(|(key, (span, _))| Spanned::new(span.clone(), (*key).to_owned()))
            .collect();
        keys.sort_by_key(|key| key.span().start);
        keys
    }

    /// Notes every key that was never asked for, and every key that should have been there.
    pub(super) fn finish(mut self, sheet: &mut Sheet) {
        for key in self.rest() {
            let near = nearest(key.get_ref(), self.asked.iter().map(String::as_str));
            // A key that is there, but misspelt, is one mistake and not two.
            self.missing
                .retain(|missing| Some(missing.as_str()) != near);
            let help = did_you_mean(near)
                .or_else(|| Some(format!("known keys: {}", self.asked.join(", "))));
            sheet.problem(
                key.span(),
                "unknown key",
                format!("{} has no key `{}`", self.what, key.get_ref()),
                help,
            );
        }
        for key in self.missing {
            sheet.problem(
                self.span.clone(),
                format!("no `{key}`"),
                format!("{} needs the key `{key}`", self.what),
                None,
            );
        }
    }

    /// Whether the key is there; its absence is noted in the end.
    fn needs(&mut self, key: &str) -> bool {
        let there = self.entries.contains_key(key);
        if !there {
            self.asked.push(key.to_owned());
            self.missing.push(key.to_owned());
        }
        there
    }
}

/// `wanted` is what `key` takes: a string or a list of them.
fn as_string(
    key: &str,
    wanted: &str,
    value: &Spanned<DeValue<'_>>,
    sheet: &mut Sheet,
) -> Option<Spanned<String>> {
    let Some(text) = value.get_ref().as_str() else {
        wrong_type(key, wanted, value, sheet);
        return None;
    };
    // Neither an argument nor a path nor a variable can hold it.
    if text.contains('\0') {
        sheet.problem(
            value.span(),
            "holds NUL",
            format!("`{key}` holds a NUL character"),
            None,
        );
        return None;
    }
    Some(Spanned::new(value.span(), text.to_owned()))
}

fn as_table<'t>(
    key: &str,
    what: &'static str,
    value: &'t Spanned<DeValue<'t>>,
    sheet: &mut Sheet,
) -> Option<Table<'t>> {
    let Some(table) = value.get_ref().as_table() else {
        wrong_type(key, "a table", value, sheet);
        return None;
    };
    Some(Table::new(what, value.span(), table))
}

/// `value` is what stands there, or one thing in a list.
fn wrong_type(key: &str, wanted: &str, value: &Spanned<DeValue<'_>>, sheet: &mut Sheet) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    sheet.problem(
        value.span(),
        found,
        format!("`{key}` takes {wanted}, not {found}"),
        None,
    );
}
