//! Chroma: a vector store server, over version 2 of its HTTP API.

use std::collections::HashSet;

use bytes::Bytes;
use fanweave_core::retrieve::{Document, Entry, Filter, Hit, Search, Store, VectorStore};
use fanweave_core::{Context, Error, ErrorKind, Result};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Client;
use crate::transport::endpoint::Endpoint;
use crate::transport::exchange::Exchange;
use crate::transport::secret::Secret;

/// Path of the collections, for the default tenant and database.
const COLLECTIONS: &str = "/api/v2/tenants/default_tenant/databases/default_database/collections";

/// Entries in one request. Source: a fifth of the server's own limit of 5,461.
const BATCH_SIZE: usize = 1000;

/// The field with the complete metadata: Chroma's own metadata fields hold plain values only.
const WHOLE: &str = "_fanweave";

/// A collection on a Chroma server.
///
/// Searches use Chroma's approximate index. Metadata may be any JSON. Filters apply to fields with strings,
/// numbers and booleans; order comparisons apply to numbers only. Requests are not retried.
///
/// ```no_run
/// use fanweave::retrieval::Search;
/// use fanweave::Context;
/// use fanweave::models::Chroma;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let store = Chroma::open("http://localhost:8000", "notes").await?.store();
/// let hits = store.search(Search::new(vec![0.6, 0.8]), &Context::new()).await?;
/// # let _ = hits;
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A request rejected by the server is [`ErrorKind::BadRequest`], with the server's message. If a write of
/// more than 1,000 entries fails, some of them may have been written.
///
/// # Cancellation
/// Dropping a future closes its connection. The server may still execute the request.
#[derive(Debug, Clone)]
pub struct Chroma {
    client: Client,
    endpoint: Endpoint,
    collection: String,
}

#[derive(Deserialize)]
struct Collection {
    id: String,
}

/// Response to a query: a list per query vector, of which there is one.
#[derive(Deserialize)]
struct Found {
    ids: Vec<Vec<String>>,
    distances: Vec<Vec<f32>>,
    documents: Vec<Vec<Option<String>>>,
    metadatas: Vec<Vec<Option<Map<String, Value>>>>,
    embeddings: Option<Vec<Vec<Vec<f32>>>>,
}

impl Chroma {
    /// Opens the collection `name` on the server at `url`. Creates it with cosine distance if it does not
    /// exist.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] if no server responds, [`ErrorKind::Config`] for an invalid URL, and
    /// [`ErrorKind::BadRequest`] for a name that Chroma rejects.
    pub async fn open(url: &str, name: &str) -> Result<Self> {
        Self::open_with(Client::default(), url, name).await
    }

    /// Like [`open`](Self::open), with the caller's client.
    ///
    /// # Errors
    /// Those of `open`.
    pub async fn open_with(client: Client, url: &str, name: &str) -> Result<Self> {
        let mut chroma = Self { client, endpoint: Endpoint::parse(url)?, collection: String::new() };
        let wanted = json!({
            "name": name,
            "get_or_create": true,
            "configuration": { "hnsw": { "space": "cosine" } },
        });
        let cx = Context::new();
        let collection: Collection = chroma.send(Method::POST, COLLECTIONS, &wanted, &cx).await?;
        // The id becomes part of paths.
        if !collection.id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(failed(ErrorKind::Decode, "the id of the collection is not a valid UUID"));
        }
        chroma.collection = format!("{COLLECTIONS}/{}", collection.id);
        Ok(chroma)
    }

    /// A handle for the collection.
    pub fn store(&self) -> Store {
        Store::new(self.clone())
    }

    async fn post<T: for<'a> Deserialize<'a>>(&self, verb: &str, body: &Value, cx: &Context) -> Result<T> {
        self.send(Method::POST, &format!("{}/{verb}", self.collection), body, cx).await
    }

    async fn send<T: for<'a> Deserialize<'a>>(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        cx: &Context,
    ) -> Result<T> {
        let body = if method == Method::GET { String::new() } else { body.to_string() };
        let (chroma, path) = (self.clone(), path.to_owned());
        let request = move |cx: Context| async move { chroma.exchange(method, &path, body, &cx).await };
        let (status, body) = cx.permit(request).await?;
        if !status.is_success() {
            let kind = match status.as_u16() {
                401 => ErrorKind::Authentication,
                403 => ErrorKind::Permission,
                404 => ErrorKind::NotFound,
                429 => ErrorKind::RateLimited,
                500.. => ErrorKind::Server,
                _ => ErrorKind::BadRequest,
            };
            let message = serde_json::from_slice::<Value>(&body).unwrap_or_default();
            let message = message["message"].as_str().unwrap_or("the server gave no reason");
            return Err(failed(kind, &self.redact(message)).with_status(status.as_u16()));
        }
        // The parser's error may quote the body, including tokens.
        serde_json::from_slice(&body).map_err(|_| {
            failed(ErrorKind::Decode, "unexpected response: does the URL belong to a Chroma server?")
                .with_body(&self.redact(&String::from_utf8_lossy(&body)))
        })
    }

    /// Sends a request and reads the response.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
        cx: &Context,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.endpoint.uri(path)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().extend(self.client.headers().clone());
        let connections = self.client.connections();
        let exchange = Exchange::begin(
            &connections,
            request,
            self.client.timeouts(),
            cx.deadline().map(tokio::time::Instant::from_std),
        );
        let mut answer = exchange.await.map_err(|error| error.with_provider("chroma"))?;
        let status = answer.head.status;
        let body = answer.whole().await.map_err(|e| e.with_provider("chroma"))?;
        Ok((status, body))
    }

    /// Removes the tokens that the client sends from `text`.
    fn redact(&self, text: &str) -> String {
        let secrets = self.client.headers().iter().filter_map(|(name, value)| Secret::of_header(name, value));
        secrets.fold(text.to_owned(), |text, secret| secret.redact(&text).into_owned())
    }
}

fn failed(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, message).with_provider("chroma")
}

impl VectorStore for Chroma {
    async fn upsert(&self, mut entries: Vec<Entry>, cx: &Context) -> Result<()> {
        // Chroma does not document which of two entries with one id is kept; here it is the last.
        let mut seen = HashSet::new();
        entries.reverse();
        entries.retain(|entry| seen.insert(entry.id.clone()));
        entries.reverse();
        for some in entries.chunks(BATCH_SIZE) {
            let body = json!({
                "ids": some.iter().map(|entry| &entry.id).collect::<Vec<_>>(),
                "embeddings": some.iter().map(|entry| &entry.vector).collect::<Vec<_>>(),
                "documents": some.iter().map(|entry| &entry.document.text).collect::<Vec<_>>(),
                "metadatas": some.iter().map(|entry| metadata(&entry.document)).collect::<Vec<_>>(),
            });
            let _: Value = self.post("upsert", &body, cx).await?;
        }
        Ok(())
    }

    async fn search(&self, search: Search, cx: &Context) -> Result<Vec<Hit>> {
        if search.limit == 0 {
            return Ok(Vec::new());
        }
        let mut include = vec!["documents", "metadatas", "distances"];
        if search.vectors {
            include.push("embeddings");
        }
        let mut body =
            json!({ "query_embeddings": [search.vector], "n_results": search.limit, "include": include });
        if let Some(filter) = &search.filter {
            body["where"] = condition(filter)?;
        }
        let found: Found = self.post("query", &body, cx).await?;
        Ok(hits(found))
    }

    async fn delete(&self, ids: Vec<String>, cx: &Context) -> Result<()> {
        for some in ids.chunks(BATCH_SIZE) {
            let _: Value = self.post("delete", &json!({ "ids": some }), cx).await?;
        }
        Ok(())
    }

    async fn count(&self, cx: &Context) -> Result<usize> {
        self.send(Method::GET, &format!("{}/count", self.collection), &Value::Null, cx).await
    }
}

/// Plain values for filters, and the complete metadata as JSON text.
fn metadata(document: &Document) -> Map<String, Value> {
    let is_plain = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    let plain = document.metadata.iter().filter(|(_, value)| is_plain(value));
    let mut fields: Map<_, _> = plain.map(|(name, value)| (name.clone(), value.clone())).collect();
    fields.insert(WHOLE.to_owned(), Value::Object(document.metadata.clone()).to_string().into());
    fields
}

fn hits(found: Found) -> Vec<Hit> {
    let first = |lists: Vec<Vec<String>>| lists.into_iter().next().unwrap_or_default();
    let ids = first(found.ids);
    let mut documents = found.documents.into_iter().next().unwrap_or_default().into_iter();
    let mut metadatas = found.metadatas.into_iter().next().unwrap_or_default().into_iter();
    let mut distances = found.distances.into_iter().next().unwrap_or_default().into_iter();
    let mut vectors =
        found.embeddings.and_then(|lists| lists.into_iter().next()).unwrap_or_default().into_iter();
    ids.into_iter()
        .map(|id| {
            let mut fields = metadatas.next().flatten().unwrap_or_default();
            // Entries written by other programs have plain metadata only.
            let whole = fields.get(WHOLE).and_then(|text| serde_json::from_str(text.as_str()?).ok());
            fields.remove(WHOLE);
            let text = documents.next().flatten().unwrap_or_default();
            let score = 1.0 - distances.next().unwrap_or(1.0);
            let document = Document { text, metadata: whole.unwrap_or(fields) };
            Hit::new(id, score, document).with_vector(vectors.next())
        })
        .collect()
}

/// Translates a filter into Chroma's syntax.
fn condition(filter: &Filter) -> Result<Value> {
    let field = |name: &str, operator: &str, value: Value| {
        let mut condition = Map::new();
        condition.insert(operator.to_owned(), value);
        let mut fields = Map::new();
        fields.insert(name.to_owned(), Value::Object(condition));
        Ok(Value::Object(fields))
    };
    match filter {
        Filter::Eq(name, value) => field(name, "$eq", value.clone()),
        Filter::Ne(name, value) => field(name, "$ne", value.clone()),
        Filter::Lt(name, value) => field(name, "$lt", value.clone()),
        Filter::Le(name, value) => field(name, "$lte", value.clone()),
        Filter::Gt(name, value) => field(name, "$gt", value.clone()),
        Filter::Ge(name, value) => field(name, "$gte", value.clone()),
        Filter::In(name, values) => field(name, "$in", values.clone().into()),
        Filter::NotIn(name, values) => field(name, "$nin", values.clone().into()),
        Filter::All(filters) => several("$and", filters),
        Filter::Any(filters) => several("$or", filters),
        _ => Err(failed(ErrorKind::Input, "this filter is not supported by Chroma")),
    }
}

/// Chroma requires at least two conditions.
fn several(operator: &str, filters: &[Filter]) -> Result<Value> {
    match filters {
        [] => Err(failed(ErrorKind::Input, "an empty filter is not supported by Chroma: remove it")),
        [one] => condition(one),
        more => {
            let conditions: Vec<_> = more.iter().map(condition).collect::<Result<_>>()?;
            let mut all = Map::new();
            all.insert(operator.to_owned(), conditions.into());
            Ok(Value::Object(all))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_said_in_chromas_words() {
        let filter =
            Filter::eq("kind", "report") & (Filter::ge("year", 2020) | Filter::one_of("lang", ["en"]));
        let expected = json!({ "$and": [
            { "kind": { "$eq": "report" } },
            { "$or": [{ "year": { "$gte": 2020 } }, { "lang": { "$in": ["en"] } }] },
        ] });
        assert_eq!(condition(&filter).unwrap(), expected);
        assert_eq!(condition(&Filter::All(vec![Filter::eq("a", 1)])).unwrap(), json!({ "a": { "$eq": 1 } }));
        assert!(condition(&Filter::Any(vec![])).is_err());
    }

    #[test]
    fn metadata_of_any_form_comes_back_as_it_was() {
        let document =
            Document::new("x").with("page", 3).with("tags", json!(["a"])).with("none", Value::Null);
        let stored = metadata(&document);
        assert_eq!(stored.keys().collect::<Vec<_>>(), ["page", WHOLE]);
        let found = Found {
            ids: vec![vec!["1".into()]],
            distances: vec![vec![0.25]],
            documents: vec![vec![Some("x".into())]],
            metadatas: vec![vec![Some(stored)]],
            embeddings: None,
        };
        let hits = hits(found);
        assert_eq!((&hits[0].document, hits[0].score), (&document, 0.75));
    }
}
