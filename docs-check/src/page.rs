//! One page of Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use crate::Command;

/// Programs whose commands are looked for in blocks that do not say their language.
const PROGRAMS: [&str; 5] = ["cargo", "guard", "helm", "kubectl", "promtool"];

/// A page, read once.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it is.
    pub path: PathBuf,
    /// What its headings are linked to by, as GitHub makes it of them.
    pub anchors: BTreeSet<String>,
    /// Its links, in order.
    pub links: Vec<Link>,
    /// Its code, in order.
    pub blocks: Vec<Block>,
    /// What stands in code within its text, with the line.
    pub mentioned: Vec<(usize, String)>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Counted from 1.
    pub line: usize,
    /// What the reader sees.
    pub text: String,
    /// File, anchor or both; or a URL.
    pub target: String,
}

/// A block of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its fence, counted from 1.
    pub line: usize,
    /// `console`, `yaml`, …; empty if it says nothing.
    pub language: String,
    /// What is in it.
    pub text: String,
}

impl Page {
    /// Reads a page.
    pub fn new(path: PathBuf, text: &str) -> Self {
        let mut reader = Reader { page: Self::empty(path), slugs: BTreeMap::new(), open: Open::Nothing };
        let line_of = |offset: usize| text[..offset].matches('\n').count() + 1;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            reader.take(event, line_of(range.start));
        }
        reader.page
    }

    fn empty(path: PathBuf) -> Self {
        Self { path, anchors: BTreeSet::new(), links: Vec::new(), blocks: Vec::new(), mentioned: Vec::new() }
    }

    /// The commands of its blocks, those that these carry to a container, and those that its text names.
    pub fn commands(&self) -> Vec<Command> {
        let in_blocks = self.blocks.iter().flat_map(|block| block.commands(&self.path));
        let mut commands: Vec<_> = in_blocks.flat_map(|command| [command.carried(), Some(command)]).flatten().collect();
        let name = self.name();
        let mentioned = self.mentioned.iter();
        commands.extend(mentioned.filter_map(|(line, text)| Command::parse(format!("{name}:{line}"), text, true)));
        commands
    }

    /// Its file's name.
    pub fn name(&self) -> String {
        name(&self.path)
    }
}

impl Block {
    /// `PAGE:LINE`, for messages.
    pub fn place(&self, page: &Page) -> String {
        format!("{}:{}", page.name(), self.line)
    }

    fn commands(&self, page: &Path) -> Vec<Command> {
        let mut commands = Vec::new();
        let mut lines = self.text.lines().zip(self.line + 1..);
        while let Some((line, number)) = lines.next() {
            let Some(first) = self.command_in(line) else { continue };
            let mut whole = first.to_owned();
            while let Some(begun) = whole.strip_suffix('\\') {
                let next = lines.next().map_or("", |(line, _)| line.trim_start());
                whole = format!("{begun}{next}");
            }
            commands.extend(Command::parse(format!("{}:{number}", name(page)), &whole, false));
        }
        commands
    }

    /// What of this line is typed.
    fn command_in<'a>(&self, line: &'a str) -> Option<&'a str> {
        match self.language.as_str() {
            "console" => line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")),
            "sh" | "bash" => Some(line),
            "" => line.split(' ').next().is_some_and(|program| PROGRAMS.contains(&program)).then_some(line),
            _ => None,
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Goes through a page from event to event.
struct Reader {
    page: Page,
    /// How often a heading came.
    slugs: BTreeMap<String, usize>,
    open: Open,
}

/// What is being read.
enum Open {
    Nothing,
    Heading(String),
    Link(Link),
    Block(Block),
}

impl Reader {
    fn take(&mut self, event: Event<'_>, line: usize) {
        match event {
            Event::Start(Tag::Heading { .. }) => self.open = Open::Heading(String::new()),
            Event::Start(Tag::Link { dest_url, .. }) if !matches!(self.open, Open::Heading(_)) => {
                self.open = Open::Link(Link { line, text: String::new(), target: dest_url.into_string() });
            }
            Event::Start(Tag::CodeBlock(kind)) => {
                let info = match kind {
                    CodeBlockKind::Fenced(info) => info.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let language = info.split_whitespace().next().unwrap_or_default().to_owned();
                self.open = Open::Block(Block { line, language, text: String::new() });
            }
            Event::End(TagEnd::Heading(_) | TagEnd::Link | TagEnd::CodeBlock) => self.close(),
            Event::Code(text) => {
                self.page.mentioned.push((line, text.to_string()));
                self.text(&text);
            }
            Event::Text(text) => self.text(&text),
            Event::SoftBreak => self.text(" "),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        match &mut self.open {
            Open::Heading(so_far) => so_far.push_str(text),
            Open::Link(link) => link.text.push_str(text),
            Open::Block(block) => block.text.push_str(text),
            Open::Nothing => {}
        }
    }

    fn close(&mut self) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Heading(text) => {
                let slug = slug(&text);
                let count = self.slugs.entry(slug.clone()).or_default();
                self.page.anchors.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
                *count += 1;
            }
            Open::Link(link) => self.page.links.push(link),
            Open::Block(block) => self.page.blocks.push(block),
            Open::Nothing => {}
        }
    }
}

/// GitHub's anchor of a heading: lower case, without punctuation, a hyphen for each space.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::new(PathBuf::from("docs/p.md"), text)
    }

    #[test]
    fn headings_are_places_as_github_names_them() {
        let page = page("# Before and after: `guard doctor`\n\n## A\n\n## A\n");
        assert!(page.anchors.iter().eq(["a", "a-1", "before-and-after-guard-doctor"]), "{:?}", page.anchors);
    }

    #[test]
    fn links_are_found_in_text_and_in_tables_and_not_in_code() {
        let page = page("see [x](a.md#b)\n\n| a |\n|---|\n| [`y`](c.rs) |\n\n```\n[no](link.md)\n```\n");
        let link = |line, text: &str, target: &str| Link { line, text: text.into(), target: target.into() };
        assert_eq!(page.links, [link(1, "x", "a.md#b"), link(5, "y", "c.rs")]);
    }

    #[test]
    fn commands_are_what_is_typed() {
        let text = "```console\n$ guard doctor \\\n    --json\nguard: output\n```\n\n```\ncargo xtask test\nnot a command\n```\n\n`guard health`\n";
        let page = page(text);
        let commands: Vec<_> =
            page.commands().into_iter().map(|command| (command.to_string(), command.is_mentioned)).collect();
        let wanted = [
            ("p.md:2: guard doctor --json", false),
            ("p.md:8: cargo xtask test", false),
            ("p.md:12: guard health", true),
        ];
        assert_eq!(commands, wanted.map(|(text, mentioned)| (text.to_owned(), mentioned)));
    }
}
