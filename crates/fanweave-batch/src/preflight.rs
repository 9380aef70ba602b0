//! Checks of templates against the rows that they are for, before any call.

use std::collections::HashSet;

use fanweave_core::Template;
use serde_json::Value;

use crate::input::field;
use crate::render::{Prepared, ROW, Render, ends_with_answer, example, only_list, reference};
use crate::source::Source;
use crate::{Advice, Error, Input, Result};

impl Render {
    /// Checks the templates against the rows of a source, before any call is made. Reads a file once; the
    /// rows of other sources are not checked. Returns notes for the user, one sentence each, such as the
    /// number of rows that have an empty field.
    ///
    /// ```
    /// use fanweave::batch::{Render, Source};
    /// use fanweave::prompts::Template;
    ///
    /// let rows = Source::from_reader("cities", "city\nOslo\n".as_bytes(), Some("csv".parse()?))?;
    /// let render = Render::new().template(Template::parse("Where is {city}?").unwrap());
    /// let error = render.check(&rows).unwrap_err();
    /// assert_eq!(error.message(), "`{city}` is not a variable: write `{{ city }}` to insert the field");
    /// # Ok::<_, fanweave::batch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) if the templates use no field of the rows, so that all rows would
    /// send the same prompt, or if no row has what they use. Errors of reading the file.
    pub fn check(&self, source: &Source) -> Result<Vec<String>> {
        let mut rows = source.rewound()?;
        let mut first = None;
        if let Some(rows) = &mut rows {
            first = self.first_usable(rows)?;
        }
        let known = match (source.columns(), &first) {
            (Some(columns), _) => Some(columns),
            (None, Some(First { names, .. })) => Some(names.clone()),
            (None, None) => None,
        };
        if let (Some(template), Some(known)) = (&self.template, &known) {
            self.uses_a_field(template, known)?;
        }
        if let Some(First { error: Some(why), .. }) = first {
            let meant = self.meant_field(known.as_deref().unwrap_or_default());
            let meant = meant.map(|name| format!("; did you mean `{{{{ {} }}}}`?", reference(name)));
            let message =
                format!("{}: no row can be used: {why}{}", source.name(), meant.unwrap_or_default());
            return Err(Error::usage(message).advising([Advice::RunAllRows]));
        }
        let mut notes = self.notes_on_texts(known.as_deref().unwrap_or_default());
        if self.template.is_none()
            && known.as_ref().is_some_and(|known| known.iter().any(|name| name == "messages"))
        {
            notes.extend(self.note_on_data(source)?);
        }
        notes.extend(self.note_on_empty_fields(source)?);
        Ok(notes)
    }

    /// The field that a row with this input lacks: one that is empty, or one without which the templates
    /// cannot be rendered.
    fn lacking<'a>(&self, input: &Input, used: &'a [String]) -> Option<&'a str> {
        let missing = || {
            let name = missing_field(input, used).filter(|_| self.template.is_some())?;
            let texts = self.texts(input, Template::try_render);
            texts.is_some_and(|texts| texts.is_err()).then_some(name)
        };
        empty_field(input, used).or_else(missing)
    }

    /// The fields of the first valid row, and its error unless a later row can be rendered.
    fn first_usable(&self, rows: &mut Source) -> Result<Option<First>> {
        let mut first: Option<First> = None;
        while let Some(row) = rows.next() {
            let row = row?;
            let location = row.location();
            let Ok(input) = row.input else { continue };
            let names = match &input {
                Input::Vars(vars) => vars.names().map(str::to_owned).collect(),
                Input::Text(_) => vec!["input".to_owned()],
                Input::Prompt(_) => Vec::new(),
            };
            let is_batch = matches!(input, Input::Prompt(_));
            let list = if let Input::Vars(vars) = &input { only_list(vars) } else { None };
            // A template that takes long stops at its limit in the run, not here for each row.
            let rendered = match self.prepare(input) {
                Prepared::Now(rendered) => Some(rendered),
                Prepared::Later(_) => None,
            };
            if !is_batch && matches!(&rendered, Some(Ok(prompt)) if ends_with_answer(prompt)) {
                let message = format!(
                    "{}: the messages of the row in {location} end with an assistant's, as in rows for fine-tuning",
                    rows.name()
                );
                return Err(Error::usage(message).advising([Advice::DropLastAssistant, Advice::RunAllRows]));
            }
            let error = rendered.and_then(Result::err);
            let error = match (error, list) {
                (Some(_), Some(list)) => Some(list),
                (Some(error), None) => Some(error.message().to_owned()),
                // Its columns are objects, which a template would insert as JSON.
                (None, Some(frame)) if self.template.is_some() && frame.contains("data frame") => Some(frame),
                (None, _) => None,
            };
            let is_usable = error.is_none();
            match &mut first {
                Some(first) if is_usable => first.error = None,
                Some(_) => {}
                None => first = Some(First { names, error }),
            }
            if is_usable {
                break;
            }
        }
        Ok(first)
    }

    /// Rejects templates that give the same prompt for all rows.
    fn uses_a_field(&self, template: &Template, known: &[String]) -> Result<()> {
        let is_constant = |template: &Template| template.variables().is_empty();
        if !is_constant(template) || self.system.as_ref().is_some_and(|system| !is_constant(system)) {
            return Ok(());
        }
        let text = template.text();
        let braced = Braced::of(&text);
        if let Some(name) = known.iter().find(|name| braced.single.contains(name.as_str())) {
            let message = format!(
                "`{{{name}}}` is not a variable: write `{{{{ {} }}}}` to insert the field",
                reference(name)
            );
            return Err(Error::usage(message).advising([Advice::RunAllRows]));
        }
        let example = example(known.iter().map(String::as_str));
        let message = format!(
            "the template uses no field of the rows, so that every row would send the same prompt; insert one, \
             such as `{{{{ {example} }}}}`"
        );
        Err(Error::usage(message).advising([Advice::RunAllRows]))
    }

    /// A field that differs from one that the templates use, and the rows do not have, only in case or in
    /// characters other than letters and digits.
    fn meant_field<'a>(&self, known: &'a [String]) -> Option<&'a str> {
        let plain = |name: &str| {
            name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>()
        };
        let missing =
            self.used_fields().into_iter().filter(|used| !known.contains(used)).map(|used| plain(&used));
        let mut meant =
            missing.filter_map(|used| known.iter().find(|name| !used.is_empty() && plain(name) == used));
        meant.next().map(String::as_str)
    }

    /// Notes on texts that are probably not meant as they are.
    fn notes_on_texts(&self, known: &[String]) -> Vec<String> {
        let mut notes = Vec::new();
        for text in [&self.template, &self.system].into_iter().flatten().map(Template::text) {
            let Braced { single, double } = Braced::of(&text);
            if let Some(name) =
                known.iter().find(|name| single.contains(name.as_str()) && !double.contains(name.as_str()))
            {
                notes.push(format!(
                    "`{{{name}}}` in the template is sent as it is; `{{{{ {} }}}}` inserts the field",
                    reference(name)
                ));
            }
            if text.contains("\\n") && !text.contains('\n') {
                notes.push(
                    "the template contains a backslash and an n, not a line break; in a shell, write $'..\\n..' or \
                     a line break within the quotes"
                        .to_owned(),
                );
            }
        }
        notes
    }

    /// The fields of rows with `messages` that are not part of their requests, with the numbers of rows.
    fn note_on_data(&self, source: &Source) -> Result<Option<String>> {
        const SHOWN: usize = 6;
        let Some(rows) = source.reopened()? else { return Ok(None) };
        let id_column = source.options().id_column.as_deref();
        let mut counts: Vec<(String, u64)> = Vec::new();
        let mut all = 0_u64;
        for row in rows.take(MAX_COUNTED) {
            all += 1;
            let Ok(Input::Vars(vars)) = row?.input else { continue };
            let map = vars.as_map();
            if field(map, "messages").is_none() {
                continue;
            }
            let stores = field(map, "store").is_some_and(|stores| *stores == true);
            for (name, value) in map {
                let is_id = matches!(&**name, "custom_id" | "id" | "stream" | "stream_options")
                    || Some(&**name) == id_column;
                if is_id || value.is_null() || self.request_fields.takes(name, value, stores) {
                    continue;
                }
                match counts.iter().position(|(own, _)| own == name) {
                    Some(at) => counts[at].1 += 1,
                    None if counts.len() < MAX_COUNTED_FIELDS => counts.push((name.clone(), 1)),
                    None => {}
                }
            }
        }
        if counts.is_empty() {
            return Ok(None);
        }
        let rows = |n: u64| if n == 1 { "1 row".to_owned() } else { format!("{n} rows") };
        let shown = counts.iter().take(SHOWN).map(|(name, n)| format!("`{name}` ({})", rows(*n)));
        let shown: Vec<_> = shown.collect();
        let more = match counts.len() - shown.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let of = if all == MAX_COUNTED as u64 { format!(" of the first {all} rows") } else { String::new() };
        Ok(Some(format!("fields{of} that are data, and not sent: {}{more}", shown.join(", "))))
    }

    /// The number of rows with an empty field that is used.
    fn note_on_empty_fields(&self, source: &Source) -> Result<Option<String>> {
        let used = self.used_fields();
        if used.is_empty() || !source.has_fields() {
            return Ok(None);
        }
        let Some(rows) = source.rewound()? else { return Ok(None) };
        let in_sample = rows.sampled();
        let mut rows = rows.without_filled_lines();
        let (mut empty, mut first) = (0_u64, None);
        for row in rows.by_ref() {
            let row = row?;
            let Ok(input) = &row.input else { continue };
            if let Some(name) = empty_field(input, &used) {
                empty += 1;
                first.get_or_insert_with(|| (name.to_owned(), row.location()));
            }
        }
        Ok(first.map(|(name, location)| {
            let have = if empty == 1 { "has" } else { "have" };
            let all = in_sample.unwrap_or(rows.read_so_far());
            format!("{empty} of {all} rows {have} an empty field, the first: `{name}` in {location}")
        }))
    }

    /// The fields that the prompts depend on.
    fn used_fields(&self) -> Vec<String> {
        let templates = [&self.template, &self.system];
        let mut used: Vec<_> = templates
            .into_iter()
            .flatten()
            .flat_map(|template| {
                let names = template.variables().into_iter().filter(|name| name != ROW);
                let paths = template.paths();
                let of_row = paths.iter().filter_map(|path| path.strip_prefix("row.")).map(str::to_owned);
                names.chain(of_row).collect::<Vec<_>>()
            })
            .collect();
        if self.template.is_none() {
            used.push("prompt".to_owned());
        }
        used.sort();
        used.dedup();
        used
    }
}

/// Maximum rows whose fields are counted before a run, and maximum of their names.
const MAX_COUNTED: usize = 10_000;
const MAX_COUNTED_FIELDS: usize = 100;

/// The texts between braces in a template, in one pass: a template may have as many as a file has columns.
struct Braced<'a> {
    /// Those in `{name}`.
    single: HashSet<&'a str>,
    /// Those in `{{name}}`.
    double: HashSet<&'a str>,
}

impl<'a> Braced<'a> {
    fn of(text: &'a str) -> Self {
        let (mut single, mut double) = (HashSet::new(), HashSet::new());
        let mut parts = text.split('}').peekable();
        while let Some(part) = parts.next() {
            // The last part has no brace after it.
            let Some(after) = parts.peek() else { break };
            let Some((before, name)) = part.rsplit_once('{') else { continue };
            // Two braces in a row leave an empty part.
            let is_double = before.ends_with('{') && after.is_empty();
            if is_double {
                double.insert(name)
            } else {
                single.insert(name)
            };
        }
        Self { single, double }
    }
}

impl Source {
    /// Leaves out the rows with an empty field that the templates of `render` use: an empty or blank text, or
    /// null. The same holds for rows that lack a field without which the templates cannot be rendered. Reads
    /// the file once. The number of these rows is one of the [notes](Self::notes).
    ///
    /// ```no_run
    /// use fanweave::batch::{Render, Source};
    /// use fanweave::prompts::Template;
    ///
    /// let render = Render::new().template(Template::parse("Translate {{ text }}").unwrap());
    /// let rows = Source::open("texts.csv", None)?.skip_empty(&render)?;
    /// # Ok::<_, fanweave::batch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) for a source that is not a file, or if all rows are empty;
    /// otherwise those of reading the file, and of [`Render::check`] if no row has what the templates use.
    pub fn skip_empty(self, render: &Render) -> Result<Self> {
        let used = render.used_fields();
        let all = self.rewound()?;
        let kept = self.skip_lacking(|input| render.lacking(input, &used))?;
        if kept.sampled() == Some(0) {
            // The cause may be a wrong name in the template.
            if let Some(all) = all {
                render.check(&all)?;
            }
            return Err(Error::usage(format!("{}: all rows are empty", kept.name())));
        }
        Ok(kept)
    }

    /// Leaves out the rows whose `fields` are empty, or which lack one of the `required` ones: for chains
    /// whose input is not a prompt. Reads the file once. The number of these rows is one of the
    /// [notes](Self::notes).
    ///
    /// ```no_run
    /// use fanweave::batch::Source;
    ///
    /// let rows = Source::open("texts.csv", None)?.skip_empty_fields(&["text", "title"], &["text"])?;
    /// # Ok::<_, fanweave::batch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) for a source that is not a file, or if no row is left; otherwise
    /// those of reading the file.
    pub fn skip_empty_fields(self, fields: &[impl AsRef<str>], required: &[impl AsRef<str>]) -> Result<Self> {
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let fields = names(&fields.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let required = names(&required.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        let kept = self
            .skip_lacking(|input| empty_field(input, &fields).or_else(|| missing_field(input, &required)))?;
        match kept.sampled() {
            Some(0) => Err(Error::usage(format!("{}: all rows are empty", kept.name()))),
            _ => Ok(kept),
        }
    }

    /// Leaves out the rows for which `lacking` returns the name of a field that is empty or that they do not
    /// have. Reads the file once. The number of these rows is one of the [notes](Self::notes).
    ///
    /// ```no_run
    /// use fanweave::batch::{Input, Source};
    ///
    /// let rows = Source::open("texts.txt", None)?;
    /// let long = rows.skip_lacking(|input| match input {
    ///     Input::Text(text) => (text.len() < 20).then_some("input"),
    ///     _ => None,
    /// })?;
    /// # Ok::<_, fanweave::batch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) for a source that is not a file, because its rows can be read only
    /// once; otherwise those of reading the file.
    pub fn skip_lacking<'a>(self, lacking: impl Fn(&Input) -> Option<&'a str>) -> Result<Self> {
        let Some(rows) = self.rewound()? else {
            let message = "empty rows can only be skipped in a file, which is read before the run";
            return Err(Error::usage(format!("{}: {message}", self.name())));
        };
        let (mut kept, mut skipped, mut first) = (Vec::new(), 0_u64, None);
        for row in rows {
            let row = row?;
            // A row that cannot be read is a failed row, not an empty one.
            match row.input.as_ref().ok().and_then(&lacking) {
                None => kept.push(row.index),
                Some(name) => {
                    skipped += 1;
                    first.get_or_insert_with(|| (name.to_owned(), row.location()));
                }
            }
        }
        let all = kept.len() as u64 + skipped;
        let note = first.map(|(name, location)| {
            let why = match skipped {
                1 => "is skipped, because it has an empty field or lacks one",
                _ => "are skipped, because they have an empty field or lack one",
            };
            format!("{skipped} of {all} rows {why}, the first: `{name}` in {location}")
        });
        Ok(self.only(kept).noting(note))
    }
}

/// The fields of the first row, and why no row can be used.
struct First {
    names: Vec<String>,
    error: Option<String>,
}

/// The first of the `used` fields that the row has and that is empty.
fn empty_field<'a>(input: &Input, used: &'a [String]) -> Option<&'a str> {
    let Input::Vars(vars) = input else { return None };
    let is_empty = |name: &&String| match field(vars.as_map(), name) {
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Null) => true,
        _ => false,
    };
    used.iter().find(is_empty).map(String::as_str)
}

/// The first of the `used` fields that the row does not have.
fn missing_field<'a>(input: &Input, used: &'a [String]) -> Option<&'a str> {
    let Input::Vars(vars) = input else { return None };
    used.iter().find(|name| field(vars.as_map(), name).is_none()).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_and_double_braces_are_distinguished() {
        let braced = Braced::of("{a} {{b}} {{ c }} {{{d}}} {e {f} g} }} {h}}");
        let sorted = |names: &HashSet<&str>| {
            let mut names: Vec<_> = names.iter().map(ToString::to_string).collect();
            names.sort();
            names.join("|")
        };
        assert_eq!(sorted(&braced.single), "a|f|h");
        assert_eq!(sorted(&braced.double), " c |b|d");
    }

    #[test]
    fn a_list_of_rows_in_a_field_is_pointed_out() {
        let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        let frame = "orient=\"records\", lines=True)`";
        for (json, advice) in [
            (r#"{"data": [{"q": "a"}, {"q": "b"}]}"#, "with `jq -c '.data[]'`"),
            (r#"{"q": {"0": "a", "1": "b"}}"#, frame),
            (r#"{"columns": ["q"], "index": [0], "data": [["a"]]}"#, frame),
        ] {
            std::fs::write(file.path(), json).unwrap();
            for template in [None, Some(Template::parse("{{ q }}").unwrap())] {
                let mut render = Render::new();
                render.template = template;
                let error = render.check(&Source::open(file.path(), None).unwrap()).unwrap_err();
                assert!(error.message().ends_with(advice), "{error}");
            }
        }
    }

    #[test]
    fn fields_that_are_not_sent_are_counted() {
        let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
        let row = |more: &str| {
            format!("{{\"id\":1,\"messages\":[{{\"role\":\"user\",\"content\":\"a\"}}]{more}}}\n")
        };
        let rows = [
            row(",\"foo\":1,\"temperature\":0.5,\"usage\":{\"total\":1}"),
            row(",\"foo\":2,\"extra_body\":{}"),
            row(",\"foo\":null"),
        ];
        std::fs::write(file.path(), rows.concat()).unwrap();
        let notes = Render::new().check(&Source::open(file.path(), None).unwrap()).unwrap();
        let expected =
            "fields that are data, and not sent: `foo` (2 rows), `usage` (1 row), `extra_body` (1 row)";
        assert_eq!(notes, [expected]);
        std::fs::write(file.path(), row(",\"seed\":1,\"stream\":true")).unwrap();
        let notes = Render::new().check(&Source::open(file.path(), None).unwrap()).unwrap();
        assert_eq!(notes, Vec::<String>::new());
    }

    #[test]
    fn a_column_with_blanks_in_its_name_is_suggested() {
        let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        std::fs::write(file.path(), "name, review,Größe\na,b,c\n").unwrap();
        let why = |template: &str| {
            let render = Render::new().template(Template::parse(template).unwrap());
            render.check(&Source::open(file.path(), None).unwrap()).unwrap_err().message().to_owned()
        };
        for (template, meant) in [("{{ review }}", r#"row[" review"]"#), ("{{ Name }}", "name")] {
            assert!(
                why(template).ends_with(&format!("; did you mean `{{{{ {meant} }}}}`?")),
                "{}",
                why(template)
            );
        }
        assert!(!why("{{ size }}").contains("did you mean"), "{}", why("{{ size }}"));
    }

    #[test]
    fn a_template_that_takes_long_is_left_to_the_run() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{{ n * b }}{% endfor %}{% endfor %}";
        let render = Render::new().template(Template::parse(loops).unwrap());
        let file = tempfile::Builder::new().suffix(".csv").tempfile().unwrap();
        std::fs::write(file.path(), format!("n\n{}", "1\n".repeat(1_000))).unwrap();
        let rows = Source::open(file.path(), None).unwrap();
        assert_eq!(render.check(&rows).unwrap(), Vec::<String>::new());
    }
}
