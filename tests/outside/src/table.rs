//! Rows and their results in SQLite: a source, records to resume from, and a view.

use std::path::{Path, PathBuf};

use fanweave::batch::{
    EarlierRows, Error, FinishedRow, Input, InputRow, Records, Result, RowKey, RowLocation, RowPermit,
    RowSink, RowSource, RunEnd, RunIdentity,
};
use fanweave::vars;
use rusqlite::{Connection, OptionalExtension, params};

/// Reads the rows of the table `questions (id, topic)`, in the order of their ids.
pub struct Questions {
    table: Connection,
    last: i64,
}

impl Questions {
    /// The questions in the database at `path`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(Self { table: Connection::open(path)?, last: -1 })
    }
}

fn external(doing: &'static str) -> impl Fn(rusqlite::Error) -> Error {
    move |e| Error::external(doing, e)
}

impl RowSource for Questions {
    fn name(&self) -> &str {
        "questions"
    }

    async fn next(&mut self) -> Result<Option<InputRow>> {
        let next = "SELECT id, topic FROM questions WHERE id > ?1 ORDER BY id LIMIT 1";
        let row = self.table.query_row(next, [self.last], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
        let Some((id, topic)) = row.optional().map_err(external("cannot read the questions"))? else {
            return Ok(None);
        };
        self.last = id;
        // The id of a question is its identity, also if another one has the same topic.
        let key = RowKey::of(&(id, &topic))?;
        Ok(Some(InputRow::new(Input::from(vars! { topic: topic })).with_id(id.to_string()).with_key(key)))
    }

    async fn total(&mut self) -> Result<Option<u64>> {
        let count = self.table.query_row("SELECT count(*) FROM questions", [], |row| row.get::<_, i64>(0));
        let count = count.map_err(external("cannot count the questions"))?;
        Ok(u64::try_from(count).ok())
    }
}

/// Records results in the tables `results (key, question, row)` and `run (manifest)` of a database.
pub struct Results {
    path: PathBuf,
    table: Option<Connection>,
}

impl Results {
    /// Results in the database at `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), table: None }
    }

    fn table(&mut self) -> &mut Connection {
        self.table.as_mut().expect("records are opened first")
    }
}

impl Records for Results {
    fn name(&self) -> &str {
        "results"
    }

    async fn open(&mut self, run: &RunIdentity) -> Result<EarlierRows> {
        let failed = external("cannot open the results");
        let table = Connection::open(&self.path).map_err(&failed)?;
        let create = "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, question TEXT, row TEXT);
             CREATE TABLE IF NOT EXISTS run (one INTEGER PRIMARY KEY CHECK (one = 1), manifest TEXT)";
        table.execute_batch(create).map_err(&failed)?;
        if run.starts_over() {
            table.execute_batch("DELETE FROM results; DELETE FROM run").map_err(&failed)?;
        }
        let manifest = table.query_row("SELECT manifest FROM run", [], |row| row.get::<_, String>(0));
        if let Some(manifest) = manifest.optional().map_err(&failed)? {
            run.check(&manifest)?;
        }
        let replace = "INSERT OR REPLACE INTO run VALUES (1, ?1)";
        table.execute(replace, [run.manifest()]).map_err(&failed)?;

        let mut earlier = EarlierRows::default();
        let mut select = table.prepare("SELECT rowid, row FROM results").map_err(&failed)?;
        let mut rows = select.query([]).map_err(&failed)?;
        while let Some(found) = rows.next().map_err(&failed)? {
            let position: i64 = found.get(0).map_err(&failed)?;
            match serde_json::from_str(&found.get::<_, String>(1).map_err(&failed)?) {
                Ok(row) => earlier.insert(&row, position.unsigned_abs()),
                Err(e) => earlier.notes.push(format!("result {position} is skipped: {e}")),
            }
        }
        drop(rows);
        drop(select);
        self.table = Some(table);
        Ok(earlier)
    }

    async fn record(&mut self, row: &FinishedRow, _: &mut RowPermit) -> Result<RowLocation> {
        let json = serde_json::to_string(row).map_err(|e| Error::external("cannot write the result", e))?;
        let table = self.table();
        let insert = "INSERT OR REPLACE INTO results VALUES (?1, ?2, ?3)";
        let inserted = table.execute(insert, params![row.key().to_string(), row.id(), json]);
        inserted.map_err(external("cannot write the result"))?;
        Ok(row.at(table.last_insert_rowid().unsigned_abs()))
    }

    fn is_readable(&self) -> bool {
        true
    }

    async fn read(&mut self, location: RowLocation) -> Result<FinishedRow> {
        let position = location.position().cast_signed();
        let select = "SELECT row FROM results WHERE rowid = ?1";
        let row = self.table().query_row(select, [position], |row| row.get::<_, String>(0));
        let row = row.map_err(external("cannot read the result"))?;
        serde_json::from_str(&row).map_err(|e| Error::external("cannot read the result", e))
    }

    async fn finish(&mut self, _: RunEnd) -> Result<()> {
        self.table().execute_batch("PRAGMA optimize").map_err(external("cannot close the results"))
    }
}

/// Writes answers to the table `answers (question, answer)`, which each run makes again.
pub struct Answers(pub Connection);

impl RowSink for Answers {
    fn begin(&mut self) -> Result<()> {
        let create = "DROP TABLE IF EXISTS answers; CREATE TABLE answers (question TEXT, answer TEXT); BEGIN";
        self.0.execute_batch(create).map_err(external("cannot create the answers"))
    }

    fn write(&mut self, row: FinishedRow) -> Result<()> {
        let answer = row.answer().map(|answer| answer.content.to_string());
        let insert = "INSERT INTO answers VALUES (?1, ?2)";
        let inserted = self.0.execute(insert, params![row.id(), answer]);
        inserted.map(|_| ()).map_err(external("cannot write the answer"))
    }

    fn finish(&mut self) -> Result<()> {
        self.0.execute_batch("COMMIT").map_err(external("cannot write the answers"))
    }
}
