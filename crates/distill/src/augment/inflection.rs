//! English endings as far as they are regular: `dog` to `dogs`, `walk` to `walked` and `walking`.
//!
//! Separate from the choice of synonyms because it knows only letters. Where letters do not decide (`-o`, `-f`, whether a
//! last consonant is doubled) the answer is `None`: a word less is replaced, and none is misspelt.

/// How a word stands in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As in a dictionary.
    Base,
    /// `dogs`
    Plural,
    /// `walks`
    ThirdPerson,
    /// `walked`
    Past,
    /// `walking`
    Gerund,
}

/// Base forms whose past has no `-ed`, for a WordNet without its lists of exceptions.
const IRREGULAR_VERBS: &str = "\
    arise awake bear beat become beget begin behold bend beset bet bid bind bite bleed blow break breed bring broadcast \
    build burn burst buy cast catch choose cling clothe come cost creep cut deal dig dive draw dream drink drive dwell \
    eat fall feed feel fight find flee fling fly forbid forecast foresee forget forgive forgo forsake freeze get give go \
    grind grow hang hear hide hit hold hurt input keep kneel knit know lay lead lean leap learn leave lend let lie light \
    lose make mean meet mislead mistake misunderstand mow outdo overcome overdo overhear override oversee overtake \
    overthrow partake pay plead prove put quit read rebuild redo remake rend repay reset retell rewrite rid ride ring \
    rise run saw say see seek sell send set sew shake shave shear shed shine shoe shoot show shrink shut sing sink sit \
    slay sleep slide sling slit smell sow speak speed spell spend spill spin spit split spoil spread spring stand steal \
    stick sting stink strew stride strike string strive swear sweat sweep swell swim swing take teach tear tell think \
    thrive throw thrust tread undergo understand undertake undo unwind uphold upset wake wear weave wed weep wet win wind \
    withdraw withhold withstand wring write";

/// Irregular pasts, for a WordNet without its lists: it knows many of them as other words (`saw`, `found`, `left`), and of
/// those that are their own base (`hit`) nobody knows the tense.
const IRREGULAR_PASTS: &str = "\
    beat became bent bet bid bit bitten bore born borne bound bred broadcast broke broken built burnt burst cast \
    cost cut dealt dove drawn drove driven drunk fallen fed fell felt forecast forged found fought frozen given \
    grown ground heard held hid hidden hit hung hurt kept knit knew known laid lain lay lead led left lent lit \
    lost meant met mown overcome paid put quit read rent rid ridden risen rode rose rung said sat saw seen sent \
    set sewn shed shone shorn shot shown shrunk shut sold sought sown spat sped spent spilt spit split spoilt \
    spoke spoken spread sprang sprung spun stole stolen stood struck stuck stung sunk swept swollen swore sworn \
    swung taken taught thought thrown thrust told took tore torn trod understood upset wed went wet woke woken \
    won wore worn wound wove woven written wrought";

/// Endings of plurals and of their nouns, more than are ever made: what may be a plural should not be taken for a verb.
const PLURALS: [(&str, &str); 11] = [
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("oes", "o"),
    ("ies", "y"),
    ("ves", "f"),
    ("ves", "fe"),
    ("men", "man"),
];

/// Endings of nouns whose plural letters do not tell: `foot`, `shelf`, `crisis`, `stimulus`, `datum`, `woman`.
const UNSURE_NOUNS: [&str; 14] = [
    "foot", "tooth", "goose", "mouse", "louse", "child", "person", "man", "f", "fe", "s", "um",
    "x", "z",
];

/// `base` in this form; `None` where letters do not tell. Of an expression the last word is inflected.
pub(super) fn inflect(base: &str, form: Form) -> Option<String> {
    match form {
        Form::Base => Some(base.to_owned()),
        Form::Plural => {
            let is_sure =
                base.ends_with("ss") || !UNSURE_NOUNS.iter().any(|end| base.ends_with(end));
            is_sure.then(|| with_s(base)).flatten()
        }
        Form::ThirdPerson => with_s(base),
        Form::Past => {
            let irregular = IRREGULAR_VERBS.split(' ').any(|verb| verb == base);
            if irregular { None } else { with_ed(base) }
        }
        Form::Gerund => with_ing(base),
    }
}

/// Whether `word` is the past of a verb that has no `-ed`.
pub(super) fn is_irregular_past(word: &str) -> bool {
    IRREGULAR_PASTS.split(' ').any(|past| past == word)
}

/// Words that may have `word` as this form.
pub(super) fn possible_bases(word: &str, form: Form) -> Vec<String> {
    let ending = match form {
        Form::Base => return vec![word.to_owned()],
        Form::Plural => {
            let base = |(ending, of_base): &(&str, &str)| {
                word.strip_suffix(ending).map(|stem| format!("{stem}{of_base}"))
            };
            return PLURALS.iter().filter_map(base).collect();
        }
        Form::ThirdPerson => "s",
        Form::Past => "ed",
        Form::Gerund => "ing",
    };
    let Some(stem) = word.strip_suffix(ending).filter(|stem| stem.len() > 1) else {
        return Vec::new();
    };
    let mut bases = vec![stem.to_owned(), format!("{stem}e")];
    bases.extend(stem.strip_suffix('e').map(str::to_owned));
    bases.extend(stem.strip_suffix("ie").map(|stem| format!("{stem}y")));
    bases.extend(stem.strip_suffix('i').map(|stem| format!("{stem}y")));
    bases.extend(stem.strip_suffix('y').map(|stem| format!("{stem}ie")));
    bases.extend(stem.is_ascii().then(|| stem[..stem.len() - 1].to_owned()));
    // What makes the form is the one rule; the list above only guesses.
    bases.retain(|base| inflect(base, form).as_deref() == Some(word));
    bases.dedup();
    bases
}

fn with_s(base: &str) -> Option<String> {
    if ["s", "x", "z", "ch", "sh"].iter().any(|end| base.ends_with(end)) {
        return Some(format!("{base}es"));
    }
    let [.., before, last] = *letters(base)? else { return None };
    match (before, last) {
        (_, b'y') if !is_vowel(before) => Some(format!("{}ies", &base[..base.len() - 1])),
        (_, b'o') if !is_vowel(before) => None,
        _ => Some(format!("{base}s")),
    }
}

fn with_ed(base: &str) -> Option<String> {
    let [.., before, last] = *letters(base)? else { return None };
    match (before, last) {
        (_, b'e') => Some(format!("{base}d")),
        (_, b'y') if !is_vowel(before) => Some(format!("{}ied", &base[..base.len() - 1])),
        _ => Some(format!("{}ed", before_ending(base)?)),
    }
}

fn with_ing(base: &str) -> Option<String> {
    if let Some(stem) = base.strip_suffix("ie") {
        return Some(format!("{stem}ying"));
    }
    let keeps_e = ["ee", "oe", "ye"].iter().any(|end| base.ends_with(end));
    match base.strip_suffix('e') {
        Some(stem) if !keeps_e => Some(format!("{stem}ing")),
        Some(_) => Some(format!("{base}ing")),
        None => Some(format!("{}ing", before_ending(base)?)),
    }
}

/// `stop` as `stopp`, `walk` as it is; `None` where that depends on the stress, as in `visit` and `submit`.
fn before_ending(base: &str) -> Option<String> {
    let letters = letters(base)?;
    let [.., first, second, last] = *letters else { return None };
    if last == b'c' {
        return None;
    }
    let ends_short = !is_vowel(first) && is_vowel(second) && !is_vowel(last);
    if !ends_short || b"wxy".contains(&last) {
        return Some(base.to_owned());
    }
    let syllables =
        letters.chunk_by(|&a, &b| is_vowel(a) == is_vowel(b)).filter(|run| is_vowel(run[0]));
    if syllables.count() == 1 {
        return Some(format!("{base}{}", char::from(last)));
    }
    let is_unstressed = base.ends_with("en") || (base.ends_with("er") && !base.ends_with("fer"));
    is_unstressed.then(|| base.to_owned())
}

fn letters(word: &str) -> Option<&[u8]> {
    word.bytes()
        .all(|byte| byte.is_ascii_lowercase() || b" -".contains(&byte))
        .then_some(word.as_bytes())
}

fn is_vowel(letter: u8) -> bool {
    b"aeiou".contains(&letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn regular_words_take_their_endings_and_give_them_back() {
        for (base, form, word) in [
            ("dog", Form::Plural, "dogs"),
            ("box", Form::ThirdPerson, "boxes"),
            ("dress", Form::Plural, "dresses"),
            ("city", Form::Plural, "cities"),
            ("boy", Form::Plural, "boys"),
            ("radio", Form::Plural, "radios"),
            ("motion picture", Form::Plural, "motion pictures"),
            ("watch", Form::ThirdPerson, "watches"),
            ("stop", Form::Past, "stopped"),
            ("carry", Form::Past, "carried"),
            ("play", Form::Past, "played"),
            ("use", Form::Past, "used"),
            ("need", Form::Past, "needed"),
            ("open", Form::Past, "opened"),
            ("make", Form::Gerund, "making"),
            ("run", Form::Gerund, "running"),
            ("lie", Form::Gerund, "lying"),
            ("see", Form::Gerund, "seeing"),
            ("hope", Form::Gerund, "hoping"),
            ("hop", Form::Gerund, "hopping"),
        ] {
            assert_eq!(inflect(base, form).as_deref(), Some(word));
            // Among words that are none: `stopp` and `neede` would end in the same way.
            assert!(possible_bases(word, form).contains(&base.to_owned()), "{word}");
        }
    }

    #[test]
    fn plurals_are_known_that_are_never_made() {
        for (base, word) in
            [("thief", "thieves"), ("knife", "knives"), ("bus", "buses"), ("woman", "women")]
        {
            assert!(possible_bases(word, Form::Plural).contains(&base.to_owned()), "{word}");
        }
        assert!(is_irregular_past("saw") && !is_irregular_past("see"));
    }

    #[test]
    fn nothing_is_said_where_letters_do_not_tell() {
        for (base, form) in [
            ("woman", Form::Plural),
            ("shelf", Form::Plural),
            ("potato", Form::Plural),
            ("crisis", Form::Plural),
            ("go", Form::Past),
            ("visit", Form::Past),
            ("prefer", Form::Gerund),
            ("panic", Form::Past),
            ("naïve", Form::Plural),
        ] {
            assert_eq!(inflect(base, form), None, "{base}");
        }
    }

    proptest! {
        #[test]
        fn any_letters_are_taken(word in "[a-zé '-]{0,8}(s|ed|ing|ies)?") {
            for form in [Form::Base, Form::Plural, Form::ThirdPerson, Form::Past, Form::Gerund] {
                let _ = inflect(&word, form);
                let _ = possible_bases(&word, form);
            }
        }
    }
}
