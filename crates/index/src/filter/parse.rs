//! The language of filters: text to [`Filter`], with errors that point at their place.

use std::ops::Bound;
use std::str::FromStr;

use hpd_files::{Error, Result};

use super::{DEEPEST, Field, Filter, LONGEST, Scalar, Test};

/// Letters shown on either side of the place of an error.
const SHOWN: usize = 40;

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > LONGEST {
            return Err(Error::input(format!(
                "the filter is {} bytes long, but may have at most {LONGEST}",
                text.len()
            ))
            .hint("split it into several searches"));
        }
        let mut parser = Parser::new(text)?;
        let filter = parser.any_of(0)?;
        if parser.next.kind != Kind::End {
            return Err(parser.expected("`AND`, `OR` or the end", JOIN_HINT));
        }
        filter.check_size()?;
        Ok(filter)
    }
}

const JOIN_HINT: &str = "join comparisons with `AND` or `OR`: `lang = 'en' AND year >= 1990`";
const FIELD_HINT: &str = "a comparison begins with a field: `year >= 1990`";
const TEST_HINT: &str = "after a field comes =, !=, <, <=, >, >=, IN, BETWEEN, EXISTS or IS NULL";
const VALUE_HINT: &str =
    "a value is a string in quotes, a number, `true`, `false` or `null`: `lang = 'en'`";
const ORDER_HINT: &str =
    "only numbers and strings have an order: `year >= 1990`, `date < '2024-05'`";

/// A piece of the text.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Token<'a> {
    kind: Kind,
    /// As it stands in the text, quotes included.
    text: &'a str,
    /// Bytes before it.
    at: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// One of `( ) ,` or an operator.
    Symbol,
    /// In quotes.
    Text,
    /// A field, keyword or number.
    Word,
    End,
}

struct Parser<'a> {
    text: &'a str,
    next: Token<'a>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self> {
        let mut parser = Self { text, next: Token { kind: Kind::End, text: "", at: 0 } };
        parser.advance()?;
        Ok(parser)
    }

    /// Takes the next token.
    fn advance(&mut self) -> Result<Token<'a>> {
        let taken = self.next;
        let from = taken.at + taken.text.len();
        let rest = &self.text[from..];
        let trimmed = rest.trim_start();
        let at = from + rest.len() - trimmed.len();
        let (kind, length) = self.scan(trimmed, at)?;
        self.next = Token { kind, text: &trimmed[..length], at };
        Ok(taken)
    }

    /// Kind and length of the token at the head of `rest`.
    fn scan(&self, rest: &str, at: usize) -> Result<(Kind, usize)> {
        let Some(first) = rest.chars().next() else { return Ok((Kind::End, 0)) };
        match first {
            '\'' | '"' => match quoted(rest, first) {
                Some(length) => Ok((Kind::Text, length)),
                None => Err(self.error(at, format!("this {first} is never closed"), VALUE_HINT)),
            },
            '(' | ')' | ',' | '=' | '<' | '>' | '!' => {
                let two = ["==", "!=", "<=", ">=", "<>"].iter().any(|two| rest.starts_with(two));
                Ok((Kind::Symbol, if two { 2 } else { 1 }))
            }
            _ => self.word(rest, at),
        }
    }

    /// Letters up to what no word holds; between backticks it may hold anything.
    fn word(&self, rest: &str, at: usize) -> Result<(Kind, usize)> {
        let mut length = 0;
        while let Some(letter) = rest[length..].chars().next() {
            length += match letter {
                '`' => quoted(&rest[length..], '`')
                    .ok_or_else(|| self.error(at + length, "this ` is never closed", FIELD_HINT))?,
                _ if letter.is_whitespace() || "()=<>!,'\"".contains(letter) => break,
                _ => letter.len_utf8(),
            };
        }
        Ok((Kind::Word, length))
    }

    fn any_of(&mut self, depth: usize) -> Result<Filter> {
        let mut filters = vec![self.all_of(depth)?];
        while self.take_keyword("OR")? {
            filters.push(self.all_of(depth)?);
        }
        Ok(alone_or(filters, Filter::Or))
    }

    fn all_of(&mut self, depth: usize) -> Result<Filter> {
        let mut filters = vec![self.one(depth)?];
        while self.take_keyword("AND")? {
            filters.push(self.one(depth)?);
        }
        Ok(alone_or(filters, Filter::And))
    }

    fn one(&mut self, depth: usize) -> Result<Filter> {
        let at = self.next.at;
        // A level of parentheses is up to two levels of filters, `OR` and `AND`.
        if depth * 2 > DEEPEST {
            let what = format!("more than {} nested parentheses and `NOT`s", DEEPEST / 2);
            return Err(self.error(
                at,
                what,
                "leave parentheses out where the order does not matter",
            ));
        }
        if self.take_keyword("NOT")? {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if !self.take_symbol("(")? {
            return self.test();
        }
        let filter = self.any_of(depth + 1)?;
        self.close(JOIN_HINT)?;
        Ok(filter)
    }

    fn test(&mut self) -> Result<Filter> {
        let field = self.field()?;
        let (test, opposite) = self.test_of_field()?;
        let filter = Filter::Field(field, test);
        Ok(if opposite { Filter::Not(Box::new(filter)) } else { filter })
    }

    fn field(&mut self) -> Result<Field> {
        let token = self.next;
        if token.kind == Kind::Text {
            let hint = "field names stand without quotes, strange ones between backticks";
            return Err(self.expected("a field", hint));
        }
        if token.kind != Kind::Word || KEYWORDS.iter().any(|word| is_keyword(token, word)) {
            return Err(self.expected("a field", FIELD_HINT));
        }
        let names = names(token.text).ok_or_else(|| {
            let what = format!("`{}` has an empty name", shown(token.text));
            self.error(token.at, what, "one dot stands between two names: `author.name`")
        })?;
        self.advance()?;
        Ok(Field(names))
    }

    /// What is asked of a field, and whether its opposite is.
    fn test_of_field(&mut self) -> Result<(Test, bool)> {
        if self.next.kind == Kind::Symbol {
            return self.comparison();
        }
        if self.take_keyword("IS")? {
            let opposite = self.take_keyword("NOT")?;
            if !self.take_keyword("NULL")? {
                return Err(self.expected("`NULL`", "compare with other values by `=`"));
            }
            return Ok((Test::OneOf(vec![Scalar::Null]), opposite));
        }
        let opposite = self.take_keyword("NOT")?;
        let test = if self.take_keyword("EXISTS")? {
            Test::Exists
        } else if self.take_keyword("IN")? {
            Test::OneOf(self.list()?)
        } else if self.take_keyword("BETWEEN")? {
            self.range()?
        } else {
            return Err(self.expected("a comparison", TEST_HINT));
        };
        Ok((test, opposite))
    }

    fn comparison(&mut self) -> Result<(Test, bool)> {
        let operator = self.next;
        if !["=", "!=", "<", "<=", ">", ">="].contains(&operator.text) {
            let hint = match operator.text {
                "==" => "equality is one `=`",
                "<>" | "!" => "the opposite of `=` is `!=`",
                _ => TEST_HINT,
            };
            return Err(self.expected("a comparison", hint));
        }
        self.advance()?;
        if let "=" | "!=" = operator.text {
            return Ok((Test::OneOf(vec![self.value()?]), operator.text == "!="));
        }
        let value = self.ordered()?;
        let test = match operator.text {
            "<" => Test::Between(Bound::Unbounded, Bound::Excluded(value)),
            "<=" => Test::Between(Bound::Unbounded, Bound::Included(value)),
            ">" => Test::Between(Bound::Excluded(value), Bound::Unbounded),
            _ => Test::Between(Bound::Included(value), Bound::Unbounded),
        };
        Ok((test, false))
    }

    fn list(&mut self) -> Result<Vec<Scalar>> {
        const HINT: &str = "a list is `('en', 'de')`";
        if !self.take_symbol("(")? {
            return Err(self.expected("`(`", HINT));
        }
        let mut values = vec![self.value()?];
        while self.take_symbol(",")? {
            values.push(self.value()?);
        }
        self.close(HINT)?;
        Ok(values)
    }

    fn range(&mut self) -> Result<Test> {
        let low = self.ordered()?;
        if !self.take_keyword("AND")? {
            return Err(self.expected("`AND`", "a range is `year BETWEEN 1980 AND 1990`"));
        }
        let at = self.next.at;
        let high = self.ordered()?;
        if matches!(low, Scalar::Text(_)) != matches!(high, Scalar::Text(_)) {
            let what = "a range lies between two numbers or two strings, and this is one of each";
            return Err(self.error(at, what, ORDER_HINT));
        }
        Ok(Test::Between(Bound::Included(low), Bound::Included(high)))
    }

    /// A value that comes before or behind others.
    fn ordered(&mut self) -> Result<Scalar> {
        let token = self.next;
        match self.value()? {
            Scalar::Null | Scalar::Boolean(_) => {
                let what = format!("`{}` has no order", shown(token.text));
                Err(self.error(token.at, what, ORDER_HINT))
            }
            value => Ok(value),
        }
    }

    fn value(&mut self) -> Result<Scalar> {
        let token = self.next;
        let value = match token.kind {
            Kind::Text => Some(Scalar::Text(unquoted(token.text))),
            Kind::Word => scalar(token),
            Kind::Symbol | Kind::End => None,
        };
        let value = value.ok_or_else(|| self.expected("a value", VALUE_HINT))?;
        self.advance()?;
        Ok(value)
    }

    fn close(&mut self, hint: &str) -> Result<()> {
        if self.take_symbol(")")? { Ok(()) } else { Err(self.expected("`)`", hint)) }
    }

    fn take_keyword(&mut self, word: &str) -> Result<bool> {
        self.take(is_keyword(self.next, word))
    }

    fn take_symbol(&mut self, symbol: &str) -> Result<bool> {
        self.take(self.next.kind == Kind::Symbol && self.next.text == symbol)
    }

    fn take(&mut self, is_it: bool) -> Result<bool> {
        if is_it {
            self.advance()?;
        }
        Ok(is_it)
    }

    fn expected(&self, what: &str, hint: &str) -> Error {
        let found = match self.next.kind {
            Kind::End => "the end".to_owned(),
            _ => format!("`{}`", shown(self.next.text)),
        };
        self.error(self.next.at, format!("expected {what}, found {found}"), hint)
    }

    /// An error with the text around its place, and a caret below.
    fn error(&self, at: usize, what: impl AsRef<str>, hint: &str) -> Error {
        let (before, behind) = self.text.split_at(at);
        let skipped = before.chars().count().saturating_sub(SHOWN);
        let before = printable(before.chars().skip(skipped));
        let behind = printable(behind.chars().take(SHOWN));
        let caret = " ".repeat(before.chars().count());
        let what = what.as_ref();
        Error::input(format!("cannot read the filter: {what}\n  {before}{behind}\n  {caret}^"))
            .hint(hint)
    }
}

const KEYWORDS: [&str; 7] = ["AND", "OR", "NOT", "IN", "BETWEEN", "EXISTS", "IS"];

fn is_keyword(token: Token<'_>, word: &str) -> bool {
    token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word)
}

fn alone_or(mut filters: Vec<Filter>, join: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match filters.pop() {
        Some(alone) if filters.is_empty() => alone,
        last => {
            filters.extend(last);
            join(filters)
        }
    }
}

/// Length of what stands in `quote`s at the head of `text`, quotes included; a quote within is written twice.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut length = 1;
    loop {
        length += text[length..].find(quote)? + 1;
        if !text[length..].starts_with(quote) {
            return Some(length);
        }
        length += 1;
    }
}

/// What stands in quotes, which are one byte each.
fn unquoted(text: &str) -> String {
    let (quote, within) = (&text[..1], &text[1..text.len() - 1]);
    within.replace(&quote.repeat(2), quote)
}

/// The names of a field, unless one is empty.
fn names(word: &str) -> Option<Vec<String>> {
    let mut names = vec![String::new()];
    let mut rest = word;
    while let Some(letter) = rest.chars().next() {
        let name = names.last_mut()?;
        let length = match letter {
            '`' => quoted(rest, '`')?,
            _ => letter.len_utf8(),
        };
        match letter {
            '`' => name.push_str(&unquoted(&rest[..length])),
            '.' if name.is_empty() => return None,
            '.' => names.push(String::new()),
            _ => name.push(letter),
        }
        rest = &rest[length..];
    }
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

/// A number, `true`, `false` or `null`.
fn scalar(word: Token<'_>) -> Option<Scalar> {
    for (name, value) in
        [("null", Scalar::Null), ("true", Scalar::Boolean(true)), ("false", Scalar::Boolean(false))]
    {
        if is_keyword(word, name) {
            return Some(value);
        }
    }
    if let Ok(whole) = word.text.parse() {
        return Some(Scalar::Whole(whole));
    }
    // Rust reads `inf` and `nan` too, which JSON has not.
    let begins = word.text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit());
    let real = word.text.parse::<f64>().ok().filter(|real| begins && real.is_finite());
    real.map(Scalar::Real)
}

fn printable(letters: impl Iterator<Item = char>) -> String {
    letters.map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The head of a text that may be long.
fn shown(text: &str) -> String {
    let mut shown = printable(text.chars().take(SHOWN));
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Filter {
        text.parse().unwrap()
    }

    fn refused(text: &str) -> String {
        format!("{:?}", text.parse::<Filter>().unwrap_err())
    }

    fn field(name: &str, test: Test) -> Filter {
        Filter::Field(Field(vec![name.to_owned()]), test)
    }

    fn equals(name: &str, value: Scalar) -> Filter {
        field(name, Test::OneOf(vec![value]))
    }

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    #[test]
    fn values_have_types() {
        for (written, value) in [
            ("'it''s'", text("it's")),
            ("\"it's\"", text("it's")),
            ("''", text("")),
            ("-7", Scalar::Whole(-7)),
            ("7.0", Scalar::Real(7.0)),
            ("1e3", Scalar::Real(1000.0)),
            ("9223372036854775808", Scalar::Real(9_223_372_036_854_775_808.0)),
            ("TRUE", Scalar::Boolean(true)),
            ("null", Scalar::Null),
        ] {
            assert_eq!(parsed(&format!("a={written}")), equals("a", value), "{written}");
        }
    }

    #[test]
    fn fields_are_nested_by_dots_and_strange_ones_stand_in_backticks() {
        for (written, names) in [
            ("author.name", vec!["author", "name"]),
            ("`author.name`", vec!["author.name"]),
            ("a.`b c`.d", vec!["a", "b c", "d"]),
            ("`and`", vec!["and"]),
            ("`a``b`", vec!["a`b"]),
            ("größe-1", vec!["größe-1"]),
        ] {
            let names = names.into_iter().map(str::to_owned).collect();
            let expected = Filter::Field(Field(names), Test::Exists);
            assert_eq!(parsed(&format!("{written} EXISTS")), expected, "{written}");
        }
    }

    #[test]
    fn not_binds_before_and_before_or() {
        let [a, b, c] = ["a", "b", "c"].map(|name| equals(name, Scalar::Whole(1)));
        let not_a = Filter::Not(Box::new(a.clone()));
        assert_eq!(
            parsed("NOT a=1 and b=1 Or c=1"),
            Filter::Or(vec![Filter::And(vec![not_a, b.clone()]), c.clone()])
        );
        let either = Filter::Or(vec![b, c]);
        assert_eq!(
            parsed("NOT(a=1 AND (b=1 OR c=1))"),
            Filter::Not(Box::new(Filter::And(vec![a, either])))
        );
    }

    #[test]
    fn opposites_are_negations() {
        for (opposite, plain) in [
            ("a != 1", "a = 1"),
            ("a NOT IN (1, 'x')", "a IN (1, 'x')"),
            ("a IS NOT NULL", "a IS NULL"),
            ("a NOT EXISTS", "a EXISTS"),
            ("a NOT BETWEEN 1 AND 2", "a BETWEEN 1 AND 2"),
        ] {
            assert_eq!(parsed(opposite), Filter::Not(Box::new(parsed(plain))));
        }
        assert_eq!(parsed("a IS NULL"), parsed("a = null"));
    }

    #[test]
    fn an_error_points_at_its_place() {
        let error = "lang = 'en' AND year > soon".parse::<Filter>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read the filter: expected a value, found `soon`
  lang = 'en' AND year > soon
                         ^"
        );
        assert_eq!(error.hint_text(), Some(VALUE_HINT));
    }

    #[test]
    fn what_is_meant_is_told_by_hints() {
        for (written, said) in [
            ("", "expected a field, found the end"),
            ("a", "after a field comes"),
            ("a == 1", "equality is one `=`"),
            ("a <> 1", "`!=`"),
            ("'a' = 1", "field names stand without quotes"),
            ("a = en", "a string in quotes"),
            ("a = 'en", "is never closed"),
            ("`a = 1", "is never closed"),
            ("a > true", "`true` has no order"),
            ("a BETWEEN 1 AND 'x'", "one of each"),
            ("a BETWEEN 1, 2", "year BETWEEN 1980 AND 1990"),
            ("a IN 1", "a list is"),
            ("a IN ()", "expected a value, found `)`"),
            ("a IS 1", "by `=`"),
            ("a..b = 1", "has an empty name"),
            ("AND = 1", "expected a field, found `AND`"),
            ("a = 1 b = 2", "join comparisons"),
            ("(a = 1", "expected `)`, found the end"),
            ("a = 1)", "expected `AND`, `OR` or the end"),
            ("a = 1e999", "expected a value"),
            ("a = inf", "expected a value"),
        ] {
            let error = refused(written);
            assert!(error.contains(said), "{written}: {error}");
        }
    }

    #[test]
    fn hostile_filters_are_refused_without_overflow() {
        for hostile in [
            "(".repeat(500_000),
            "NOT ".repeat(200_000) + "a = 1",
            vec!["a = 1"; 501].join(" AND "),
            format!("a IN ({})", vec!["1"; 10_001].join(",")),
            "x".repeat(LONGEST + 1),
            vec!["a"; 33].join(".") + " EXISTS",
            "a = '\0'".to_owned(),
        ] {
            let error = refused(&hostile);
            assert!(error.len() < 500, "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Filter>();
        }

        #[test]
        fn no_mixture_of_its_own_words_panics(
            words in prop::collection::vec(prop::sample::select(vec![
                "a", "a.b", "`", "'", "\"", "(", ")", ",", "=", "!", "<", ">", "AND", "or", "NOT", "IN", "IS", "NULL",
                "BETWEEN", "EXISTS", "1", "-1.5", "true", "é", "\u{0}", " ", ".",
            ]), 0..12),
            space in prop::sample::select(vec!["", " "]),
        ) {
            let _ = words.join(space).parse::<Filter>();
        }
    }
}
