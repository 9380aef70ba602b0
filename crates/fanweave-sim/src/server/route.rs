//! Routing of paths.

use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// Target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Home,
    Stats,
    Reset,
    Chat,
    Completions,
    Embeddings,
    Responses,
    OllamaChat,
    OllamaEmbed,
    Generate {
        model: String,
        is_stream: bool,
    },
    BatchEmbed {
        model: String,
    },
    Converse {
        model: String,
        is_stream: bool,
    },
    /// An access token of Google.
    Token,
    Messages,
    Models,
    Model(String),
    Upload,
    File(String),
    Content(String),
    Batches,
    Batch(String),
    CancelBatch(String),
    MessageBatches,
    MessageBatch(String),
    MessageResults(String),
    CancelMessageBatch(String),
}

impl Route {
    pub(super) fn find(method: &Method, uri: &Uri) -> Result<Self, Problem> {
        let (route, expected) = match uri.path() {
            "/v1/chat/completions" => (Self::Chat, Method::POST),
            "/v1/completions" => (Self::Completions, Method::POST),
            "/v1/embeddings" => (Self::Embeddings, Method::POST),
            "/v1/responses" => (Self::Responses, Method::POST),
            "/api/chat" => (Self::OllamaChat, Method::POST),
            "/api/embed" => (Self::OllamaEmbed, Method::POST),
            "/v1/messages" => (Self::Messages, Method::POST),
            "/v1/files" => (Self::Upload, Method::POST),
            // POST creates a batch, GET lists them.
            "/v1/batches" => (Self::Batches, get_or_post(method)),
            "/v1/messages/batches" => (Self::MessageBatches, get_or_post(method)),
            "/v1/models" => (Self::Models, Method::GET),
            "/" => (Self::Home, Method::GET),
            "/stats" => (Self::Stats, Method::GET),
            "/reset" => (Self::Reset, Method::POST),
            "/token" => (Self::Token, Method::POST),
            // The metadata server of a machine.
            "/computeMetadata/v1/instance/service-accounts/default/token" => (Self::Token, Method::GET),
            path if let Some(found) = Self::of_resource(path) => found,
            path => match path.strip_prefix("/v1/models/") {
                Some(name) => {
                    (Self::Model(percent_decode_str(name).decode_utf8_lossy().into_owned()), Method::GET)
                }
                None if let Some(route) = Self::of_gemini(path) => (route, Method::POST),
                None if let Some(route) = Self::of_bedrock(path) => (route, Method::POST),
                None => {
                    return Err(Problem::UnknownRoute { method: method.to_string(), path: path.to_owned() });
                }
            },
        };
        if *method == expected { Ok(route) } else { Err(Problem::WrongMethod { method: method.to_string() }) }
    }

    /// `/v1beta/models/{model}:{verb}`, and Vertex AI's
    /// `/v1/projects/{project}/locations/{location}/publishers/google/models/{model}:{verb}`.
    fn of_gemini(path: &str) -> Option<Self> {
        let named = path.strip_prefix("/v1beta/models/").or_else(|| {
            let (project, named) =
                path.strip_prefix("/v1/projects/")?.split_once("/publishers/google/models/")?;
            project.contains("/locations/").then_some(named)
        });
        let (model, verb) = named?.rsplit_once(':')?;
        let model = percent_decode_str(model).decode_utf8_lossy().into_owned();
        Some(match verb {
            "generateContent" => Self::Generate { model, is_stream: false },
            "streamGenerateContent" => Self::Generate { model, is_stream: true },
            "batchEmbedContents" => Self::BatchEmbed { model },
            _ => return None,
        })
    }

    /// `/model/{model}/{verb}`.
    fn of_bedrock(path: &str) -> Option<Self> {
        let (model, verb) = path.strip_prefix("/model/")?.rsplit_once('/')?;
        let model = percent_decode_str(model).decode_utf8_lossy().into_owned();
        let is_stream = match verb {
            "converse" => false,
            "converse-stream" => true,
            _ => return None,
        };
        Some(Self::Converse { model, is_stream })
    }

    /// The route of a path that names a file or a batch.
    fn of_resource(path: &str) -> Option<(Self, Method)> {
        let file = path.strip_prefix("/v1/files/");
        let batch = path.strip_prefix("/v1/batches/");
        if let Some(batch) = path.strip_prefix("/v1/messages/batches/") {
            return Some(match batch.rsplit_once('/') {
                Some((batch, "results")) => (Self::MessageResults(batch.to_owned()), Method::GET),
                Some((batch, "cancel")) => (Self::CancelMessageBatch(batch.to_owned()), Method::POST),
                _ => (Self::MessageBatch(batch.to_owned()), Method::GET),
            });
        }
        Some(match (file, batch) {
            (Some(file), _) => match file.strip_suffix("/content") {
                Some(file) => (Self::Content(file.to_owned()), Method::GET),
                None => (Self::File(file.to_owned()), Method::GET),
            },
            (_, Some(batch)) => match batch.strip_suffix("/cancel") {
                Some(batch) => (Self::CancelBatch(batch.to_owned()), Method::POST),
                None => (Self::Batch(batch.to_owned()), Method::GET),
            },
            _ => return None,
        })
    }

    /// Returns true for pages of the simulator itself: they need no key and are not counted.
    pub(super) fn is_own(uri: &Uri) -> bool {
        !["/v1/", "/v1beta/", "/api/", "/model/"].iter().any(|api| uri.path().starts_with(api))
    }
}

fn get_or_post(method: &Method) -> Method {
    if *method == Method::GET { Method::GET } else { Method::POST }
}
