//! Commands that a page tells its reader to run.

use std::fmt;

/// One command, as words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Page and line, for messages.
    pub place: String,
    /// The program and its arguments, without the shell's quotes.
    pub words: Vec<String>,
    /// It stands in running text: a name rather than something to copy, so what is required may be missing.
    pub is_mentioned: bool,
}

impl Command {
    /// From one line of shell. None where there is nothing, or only a comment.
    pub(crate) fn parse(place: String, line: &str, is_mentioned: bool) -> Option<Self> {
        let words = words(line);
        (!words.is_empty()).then_some(Self { place, words, is_mentioned })
    }

    /// Whether it is a command of this program: `["cargo", "xtask"]`.
    pub fn is_of(&self, program: &[&str]) -> bool {
        self.words.len() > program.len() && self.words.iter().zip(program).all(|(word, wanted)| word == wanted)
    }

    /// Another command that this one carries behind `--`: what `kubectl exec` runs.
    pub(crate) fn carried(&self) -> Option<Self> {
        let at = self.words.iter().position(|word| word == "--")?;
        let words = self.words[at + 1..].to_vec();
        (!words.is_empty()).then(|| Self { words, ..self.clone() })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.words.join(" "))
    }
}

/// The words of a line as a shell sees them, up to a comment, a pipe, a redirection or the next command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(characters.next()),
            (Some(_), inside) => word.get_or_insert_default().push(inside),
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | ';' | '>' | '&') => break,
            (None, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_a_shell_splits_it() {
        assert_eq!(
            words(r#"guard release --reason "INC-1: it's" | cat"#),
            ["guard", "release", "--reason", "INC-1: it's"]
        );
        assert_eq!(
            words("kubectl patch x --patch '{\"a\": 1}'  # why"),
            ["kubectl", "patch", "x", "--patch", "{\"a\": 1}"]
        );
        assert_eq!(words(r"a b\ c ''"), ["a", "b c", ""]);
        assert!(words("# only a comment").is_empty());
    }

    #[test]
    fn what_stands_behind_two_dashes_is_a_command_of_its_own() {
        let command = Command::parse("x:1".to_owned(), "kubectl exec POD -- guard doctor", false).unwrap();
        assert_eq!(command.carried().unwrap().words, ["guard", "doctor"]);
        assert!(
            command.is_of(&["kubectl", "exec"]) && !command.is_of(&["kubectl", "exec", "POD", "--", "guard", "doctor"])
        );
    }
}
