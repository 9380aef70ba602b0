//! A comparison of two runs as a self-contained HTML page, without scripts.

use std::fmt::Write;

use fanweave::batch::RowRecord;

use super::compare::{Matches, Pair};
use super::page::escaped;

const STYLE: &str = include_str!("page.css");

/// Maximum rows of the page. Those that differ come first.
const MAX_ROWS: usize = 2_000;

/// Difference of the row of the second run to that of the first, the most important kinds first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Broken,
    Fixed,
    Different,
    OnlyInFirst,
    OnlyInSecond,
    FailedInBoth,
    Equal,
}

impl Change {
    fn of(pair: &Pair<'_>) -> Self {
        match pair {
            (Some(_), None) => Self::OnlyInFirst,
            (None, _) => Self::OnlyInSecond,
            (Some(a), Some(b)) => match (a.error.is_none(), b.error.is_none()) {
                (true, true) if a.has_equal_answer(b) => Self::Equal,
                (true, true) => Self::Different,
                (false, true) => Self::Fixed,
                (true, false) => Self::Broken,
                (false, false) => Self::FailedInBoth,
            },
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Fixed => "fixed",
            Self::Different => "different",
            Self::OnlyInFirst => "only in the first",
            Self::OnlyInSecond => "only in the second",
            Self::FailedInBoth => "failed in both",
            Self::Equal => "equal",
        }
    }
}

/// The page. `figures` are the lines of the figures of both runs: their names, values and change.
pub(super) fn html(
    names: [&str; 2],
    figures: &[[String; 4]],
    matches: &Matches,
    pairs: &[Pair<'_>],
) -> String {
    let names = names.map(escaped);
    let [first, second] = &names;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{first} and {second} - fanweave</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<header>\n<h1>{first} and {second}</h1>\n<p>{}</p>\n</header>\n<main>\n",
        counts(matches)
    );
    page.push_str("<section aria-label=\"Figures\"><h2>Figures</h2><div class=\"scroll\"><table>\n");
    for (at, line) in figures.iter().enumerate() {
        let cell = if at == 0 { "th" } else { "td" };
        let [name, a, b, change] = line.each_ref().map(|text| escaped(text));
        let _ = writeln!(
            page,
            "<tr><{cell}>{name}</{cell}><{cell} class=\"n\">{a}</{cell}><{cell} class=\"n\">{b}</{cell}>\
             <{cell} class=\"n\">{change}</{cell}></tr>"
        );
    }
    page.push_str("</table></div></section>\n<section><h2>Rows</h2>\n");
    let mut sorted: Vec<_> = pairs.iter().map(|pair| (Change::of(pair), pair)).collect();
    // Stable: rows of one kind stay in the order of the input.
    sorted.sort_by_key(|(change, _)| *change);
    if sorted.len() > MAX_ROWS {
        let (shown, all) = (MAX_ROWS, sorted.len());
        let _ = writeln!(
            page,
            "<p class=\"legend\">{shown} of {all} rows, those that differ first; --csv has all</p>"
        );
        sorted.truncate(MAX_ROWS);
    }
    let _ = writeln!(
        page,
        "<div class=\"scroll\"><table id=\"rows\"><thead><tr><th class=\"n\">row</th><th>id</th><th></th><th>{first}</th>\
         <th>{second}</th></tr></thead><tbody>"
    );
    for (change, (a, b)) in sorted {
        let Some(one) = a.or(*b) else { continue };
        let id = one.id.as_deref().map(escaped).unwrap_or_default();
        let _ = writeln!(
            page,
            "<tr><td class=\"n\">{}</td><td>{id}</td><td>{}</td>{}{}</tr>",
            one.index,
            change.name(),
            cell(*a),
            cell(*b)
        );
    }
    page.push_str("</tbody></table></div>\n</section>\n</main>\n</body>\n</html>\n");
    page
}

fn counts(matches: &Matches) -> String {
    let Matches { in_both, equal_answer, different_answer, fixed, broken, failed_in_both, .. } = *matches;
    format!(
        "{in_both} rows in both: {equal_answer} equal, {different_answer} different, {fixed} fixed, {broken} broken, \
         {failed_in_both} failed in both; {} only in the first, {} only in the second",
        matches.only_in_first, matches.only_in_second
    )
}

/// The result of a row.
fn cell(row: Option<&RowRecord>) -> String {
    match row.map(|row| (&row.answer, &row.error)) {
        None => "<td class=\"text\"></td>".to_owned(),
        Some((_, Some((kind, message)))) => {
            format!("<td class=\"text error\">{}: {}</td>", escaped(kind), escaped(message))
        }
        Some((answer, None)) => format!("<td class=\"text\">{}</td>", escaped(answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(index: u64, answer: &str, error: Option<&str>) -> RowRecord {
        let mut row = RowRecord::default();
        row.index = index;
        row.answer = answer.to_owned();
        row.error = error.map(|message| ("server".to_owned(), message.to_owned()));
        row
    }

    #[test]
    fn rows_that_differ_come_first_and_no_text_is_markup() {
        let (equal, answered) = (row(0, "<script>same</script>", None), row(1, "<b>one</b>", None));
        let failed = row(1, "", Some("<i>down</i>"));
        let pairs: [Pair<'_>; 2] = [(Some(&equal), Some(&equal)), (Some(&answered), Some(&failed))];
        let figures =
            [["".into(), "a".into(), "b".into(), "change".into()], ["rows", "2", "2", ""].map(str::to_owned)];
        let page = html(["<a>", "b"], &figures, &super::super::compare::matches(&pairs), &pairs);
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        assert!(at(">broken<") < at(">equal<"));
        assert!(!page.contains("<script") && !page.contains("<b>one") && !page.contains("<i>down"));
        assert!(
            page.contains("server: &lt;i&gt;down")
                && page.contains("1 equal, 0 different, 0 fixed, 1 broken")
        );
        for outside in ["http://", "https://", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_page_of_many_rows_has_a_part_of_them() {
        let rows: Vec<_> = (0..3_000).map(|n| row(n, &n.to_string(), None)).collect();
        let pairs: Vec<Pair<'_>> = rows.iter().map(|row| (Some(row), None)).collect();
        let page = html(["a", "b"], &[], &super::super::compare::matches(&pairs), &pairs);
        assert!(
            page.contains("2000 of 3000 rows") && page.matches("only in the first</td>").count() == 2_000
        );
    }
}
