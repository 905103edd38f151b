//! One method of one path, described in a few lines.

use crate::http::endpoint::Layer;
use crate::http::problem::body_of;
use crate::http::problem_codes::{ErrorCode, Repeat};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{
    ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required};

/// Ids of the examples.
pub(super) const TSS: &str = "9d7a2f5e-3c41-4f0b-8e6d-1a2b3c4d5e6f";
pub(super) const CLIENT: &str = "4b8e1c70-52d9-4a36-9f17-c0ffee123456";
pub(super) const TX: &str = "c2f3a9d4-7b60-4e58-8d21-0f9e8d7c6b5a";
pub(super) const EXPORT: &str = "e5d4c3b2-a190-4877-b665-544332211000";

/// Errors that every call can be answered with.
const ALWAYS: &[ErrorCode] = &[ErrorCode::Internal, ErrorCode::TssLocked];

/// Schemas that the document has to hold.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// Name, text and value of an example.
pub(super) type Example = (&'static str, &'static str, Value);

/// An operation that is being described.
pub(super) struct Described {
    pub path: &'static str,
    pub method: HttpMethod,
    pub schemas: Schemas,
    builder: OperationBuilder,
    success: Option<ResponseBuilder>,
    errors: Vec<ErrorCode>,
}

impl Described {
    /// For callers with a token.
    pub fn new(
        method: HttpMethod,
        path: &'static str,
        (tag, id): (&str, &str),
        summary: &str,
    ) -> Self {
        let described = Self::open(method, path, (tag, id), summary);
        let bearer = SecurityRequirement::new("token", Vec::<String>::new());
        Self {
            builder: described.builder.security(bearer),
            ..described
        }
        .errors(&[ErrorCode::Unauthorized, ErrorCode::TooManyRequests])
    }

    /// For everybody.
    pub fn open(
        method: HttpMethod,
        path: &'static str,
        (tag, id): (&str, &str),
        summary: &str,
    ) -> Self {
        let names = path.split('{').skip(1);
        let parameters = names.filter_map(|rest| path_parameter(rest.split('}').next()?));
        let mut builder = OperationBuilder::new()
            .tag(tag)
            .operation_id(Some(id))
            .summary(Some(summary));
        for parameter in parameters {
            builder = builder.parameter(parameter);
        }
        Self {
            path,
            method,
            schemas: Schemas::new(),
            builder,
            success: None,
            errors: match path.contains('{') {
                // An id may be such that it makes the path another one.
                true => [ALWAYS, &[ErrorCode::NotFound]].concat(),
                false => ALWAYS.to_vec(),
            },
        }
    }

    /// No errors but those that are added from here on.
    pub fn never_fails(mut self) -> Self {
        self.errors.clear();
        self
    }

    fn build(self, with: impl FnOnce(OperationBuilder) -> OperationBuilder) -> Self {
        Self {
            builder: with(self.builder),
            ..self
        }
    }

    /// More than the summary says.
    pub fn about(self, text: &str) -> Self {
        self.build(|builder| builder.description(Some(text)))
    }

    /// Query parameters.
    pub fn query(self, parameters: Vec<Parameter>) -> Self {
        let invalid = self.errors(&[ErrorCode::FailedSchemaValidation]);
        invalid.build(|builder| {
            parameters
                .into_iter()
                .fold(builder, OperationBuilder::parameter)
        })
    }

    /// Its body.
    pub fn body<T: ToSchema>(mut self, required: Required, examples: Vec<Example>) -> Self {
        let examples = examples.into_iter().map(|(name, summary, value)| {
            let example = ExampleBuilder::new().summary(summary);
            (name, example.value(Some(value)).build())
        });
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .examples_from_iter(examples);
        let body = RequestBodyBuilder::new()
            .required(Some(required))
            .content("application/json", content.build());
        const BODY: &[ErrorCode] = &[
            ErrorCode::FailedSchemaValidation,
            ErrorCode::BodyTooLarge,
            ErrorCode::RequestTimeout,
        ];
        self.errors(BODY)
            .build(|builder| builder.request_body(Some(body.build())))
    }

    /// A success with JSON. Examples have the names of the requests that they answer.
    pub fn answer<T: ToSchema>(mut self, description: &str, examples: Vec<Example>) -> Self {
        self.success = Some(self.json::<T>(description, examples));
        self
    }

    /// 503 with JSON that is no error.
    pub fn not_now<T: ToSchema>(mut self, description: &str) -> Self {
        let response = self.json::<T>(description, Vec::new()).build();
        self.build(|builder| builder.response("503", response))
    }

    fn json<T: ToSchema>(&mut self, description: &str, examples: Vec<Example>) -> ResponseBuilder {
        let examples = examples.into_iter().map(|(name, summary, value)| {
            let example = ExampleBuilder::new().summary(summary);
            (name, example.value(Some(value)).build())
        });
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<T>()))
            .examples_from_iter(examples)
            .build();
        labelled(ResponseBuilder::new())
            .description(description)
            .content("application/json", content)
    }

    /// A success with one of these, which are texts or bytes.
    pub fn bare(self, description: &str, content_types: &[&str]) -> Self {
        let response = labelled(ResponseBuilder::new()).description(description);
        Self {
            success: Some(response),
            ..self
        }
        .or_bare(content_types)
    }

    /// Or one of these, as `Accept` asks.
    pub fn or_bare(self, content_types: &[&str]) -> Self {
        let content = |kind: &str| {
            let text = ObjectBuilder::new().schema_type(Type::String);
            let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
            let schema = text.format((!kind.starts_with("text/")).then_some(binary));
            ContentBuilder::new().schema(Some(schema.build())).build()
        };
        let with_all = |response: ResponseBuilder| {
            content_types.iter().fold(response, |response, kind| {
                response.content(*kind, content(kind))
            })
        };
        Self {
            success: self.success.map(with_all),
            ..self
        }
    }

    /// Errors beside those that every call can be answered with.
    pub fn errors(mut self, errors: &[ErrorCode]) -> Self {
        self.errors.extend_from_slice(errors);
        self
    }

    /// The whole operation, with one answer for each status.
    pub fn finish(mut self) -> (&'static str, HttpMethod, OperationBuilder, Schemas) {
        if let Some(success) = self.success.take() {
            self = self.build(|builder| builder.response("200", success.build()));
        }
        let mut by_status = BTreeMap::<u16, Vec<ErrorCode>>::new();
        self.errors.sort();
        self.errors.dedup();
        for code in std::mem::take(&mut self.errors) {
            let status = code.status().as_u16();
            by_status.entry(status).or_default().push(code);
        }
        for (status, codes) in by_status {
            let response = self.error_response(&codes);
            self = self.build(|builder| builder.response(status.to_string(), response.build()));
        }
        (self.path, self.method, self.builder, self.schemas)
    }

    fn error_response(&mut self, codes: &[ErrorCode]) -> ResponseBuilder {
        let lines: Vec<String> = codes
            .iter()
            .map(|code| format!("{code}: {}", code.row().cause))
            .collect();
        let examples = codes.iter().enumerate().map(|(place, code)| {
            let row = code.row();
            let value = body_of(Layer::Backend, *code, row.cause);
            let example = ExampleBuilder::new().summary(row.german).value(Some(value));
            // One code may have two causes, of which only one passes.
            let name = code.to_string();
            let earlier = codes.iter().take(place);
            let name = match earlier.filter(|other| other.to_string() == name).count() {
                0 => name,
                before => format!("{name}_{}", before + 1),
            };
            (name, example.build())
        });
        let content = ContentBuilder::new()
            .schema(Some(self.reference::<super::answers::Error>()))
            .examples_from_iter(examples)
            .build();
        let response = labelled(ResponseBuilder::new())
            .description(lines.join("\n\n"))
            .content("application/json", content);
        match codes.iter().any(|code| code.row().repeat == Repeat::Later) {
            true => response.header("Retry-After", retry_after()),
            false => response,
        }
    }

    fn reference<T: ToSchema>(&mut self) -> Ref {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name())
    }
}

fn header(kind: Type, description: &str, example: Value) -> Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(kind).build()))
        .description(Some(description))
        .example(Some(example))
        .build()
}

fn labelled(response: ResponseBuilder) -> ResponseBuilder {
    let id = "That of the request, or one that was made for it.";
    let time = "Seconds that the answer took.";
    response
        .header("Request-Id", header(Type::String, id, json!("till-7/4711")))
        .header("Response-Time", header(Type::String, time, json!("0.012")))
}

fn retry_after() -> Header {
    let text = "Seconds after which the same call makes sense again.";
    header(Type::Integer, text, json!(1))
}

fn path_parameter(name: &str) -> Option<Parameter> {
    let (text, example, is_uuid) = match name {
        "tss_id" => ("Id of the TSS; its owner chooses it.", TSS, true),
        "client_id" => ("Id of the client; its owner chooses it.", CLIENT, true),
        "export_id" => ("Id of the export; its owner chooses it.", EXPORT, true),
        "tx_id_or_number" => (
            "Id of the transaction, which the till chooses (a UUID), or its number at the TSS.",
            TX,
            false,
        ),
        "file" => ("A file of the page.", "swagger-ui.css", false),
        _ => return None,
    };
    let format = SchemaFormat::KnownFormat(KnownFormat::Uuid);
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(is_uuid.then_some(format));
    Some(
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(text))
            .schema(Some(schema.build()))
            .example(Some(json!(example)))
            .build(),
    )
}

/// A query parameter that may be left out.
pub(super) fn query(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// A whole number in a query.
pub(super) fn integer(min: u64, max: u64) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(min))
        .maximum(Some(max))
        .into()
}

/// One of these words.
pub(super) fn word(words: &[&str]) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.iter().copied()))
        .into()
}

/// The parameters of a list that can be sorted by these columns; the first one is the default.
pub(super) fn page(order_by: &[&str], states: &[&str]) -> Vec<Parameter> {
    const OFFSET_MAX: u64 = (1 << 53) - 1;
    let mut parameters = vec![
        query(
            "limit",
            "Most items of the page; 100 by default.",
            integer(1, 100),
        ),
        query("offset", "Items to skip.", integer(0, OFFSET_MAX)),
        query("order", "`asc` by default.", word(&["asc", "desc"])),
        query("order_by", "The first one is the default.", word(order_by)),
    ];
    if !states.is_empty() {
        let text = "Any of these; also taken as `states[]=` and `states[0]=`.";
        let list = ArrayBuilder::new().items(RefOr::T(word(states))).build();
        parameters.push(query("states", text, list));
    }
    parameters
}
