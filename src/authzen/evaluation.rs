//! Decisions: one (section 6 of the specification), or several in one request (section 7).

use axum::response::Response;
use serde_json::{Value, json};

use super::entity::{
    JsonMembers, RequestMistake, merge_entity, permission_name, read_object, read_subject,
    read_text,
};
use super::http::{DecisionCaller, DecisionFailure, json_response};
use crate::domain::access::decision;
use crate::domain::access::decision::{Decision, DecisionSubject};

/// The most questions of one request.
const MAX_EVALUATIONS: usize = 1_000;

/// `POST /access/v1/evaluation`.
pub async fn handle_evaluation(caller: DecisionCaller) -> Result<Response, DecisionFailure> {
    answer_one(&caller).await
}

async fn answer_one(caller: &DecisionCaller) -> Result<Response, DecisionFailure> {
    let (subject, permission) =
        read_question(&caller.body, None).map_err(DecisionFailure::bad_request)?;
    let decision = decision::decide_access(&caller.cx, &subject, &permission).await?;
    Ok(json_response(render_decision(decision).to_string()))
}

/// `POST /access/v1/evaluations`.
pub async fn handle_evaluations(caller: DecisionCaller) -> Result<Response, DecisionFailure> {
    let body = &caller.body;
    let evaluations = match body.get("evaluations") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(evaluations)) => evaluations.as_slice(),
        Some(_) => return Err(DecisionFailure::bad_request("evaluations must be an array")),
    };
    let semantic = EvaluationSemantic::read(body).map_err(DecisionFailure::bad_request)?;
    if evaluations.is_empty() {
        return answer_one(&caller).await;
    }
    if evaluations.len() > MAX_EVALUATIONS {
        let why = format!("a request may have at most {MAX_EVALUATIONS} evaluations");
        return Err(DecisionFailure::bad_request(why));
    }
    caller.take_questions(evaluations.len())?;
    for entity in ["subject", "action", "resource", "context"] {
        read_object(body, entity).map_err(DecisionFailure::bad_request)?;
    }
    // A mistake in one question does not affect the others.
    let asked: Vec<Result<(DecisionSubject, String), RequestMistake>> = evaluations
        .iter()
        .map(|evaluation| match evaluation {
            Value::Object(evaluation) => read_question(evaluation, Some(body)),
            _ => Err("an evaluation must be an object".into()),
        })
        .collect();
    let questions: Vec<_> = asked.iter().filter_map(|asked| asked.as_ref().ok()).cloned().collect();
    let mut decisions = decision::decide_all(&caller.cx, &questions).await?.into_iter();
    let mut answers = Vec::with_capacity(asked.len());
    for question in &asked {
        let (allowed, answer) = match question {
            Err(mistake) => (false, render_mistake(mistake)),
            Ok(_) => {
                let decision = decisions.next().unwrap_or(Decision::UnknownSubject);
                (decision.allows(), render_decision(decision))
            }
        };
        answers.push(answer);
        if semantic.ends_after(allowed) {
            break;
        }
    }
    Ok(json_response(json!({ "evaluations": answers }).to_string()))
}

/// Whether the answers of a request end before the last question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EvaluationSemantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

impl EvaluationSemantic {
    fn read(body: &JsonMembers) -> Result<Self, RequestMistake> {
        let options = read_object(body, "options")?;
        let named = options.and_then(|options| options.get("evaluations_semantic"));
        match named.map(Value::as_str) {
            None | Some(Some("execute_all")) => Ok(Self::ExecuteAll),
            Some(Some("deny_on_first_deny")) => Ok(Self::DenyOnFirstDeny),
            Some(Some("permit_on_first_permit")) => Ok(Self::PermitOnFirstPermit),
            Some(_) => Err("options.evaluations_semantic must be execute_all, \
                deny_on_first_deny or permit_on_first_permit"
                .into()),
        }
    }

    fn ends_after(self, allowed: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !allowed,
            Self::PermitOnFirstPermit => allowed,
        }
    }
}

/// Who is asked about, and for which permission.
fn read_question(
    request: &JsonMembers,
    defaults: Option<&JsonMembers>,
) -> Result<(DecisionSubject, String), RequestMistake> {
    let entity = |name: &'static str, required: &[&str]| {
        merge_entity(request, defaults, name, required)?.ok_or_else(|| format!("{name} is missing"))
    };
    let subject = entity("subject", &["type", "id"])?;
    let action = entity("action", &["name"])?;
    let resource = entity("resource", &["type", "id"])?;
    merge_entity(request, defaults, "context", &[])?;
    let subject = read_subject(&subject)?;
    let action = read_text(&action, "action", "name")?;
    let resource_type = read_text(&resource, "resource", "type")?;
    // Roles hold for all resources of a type as yet.
    read_text(&resource, "resource", "id")?;
    Ok((subject, permission_name(resource_type, action)))
}

/// A decision as JSON; a denial says why.
fn render_decision(decision: Decision) -> Value {
    if decision.allows() {
        return json!({ "decision": true });
    }
    let context = json!({ "reason": decision.code(), "message": decision.message() });
    json!({ "decision": false, "context": context })
}

fn render_mistake(mistake: &str) -> Value {
    let error = json!({ "status": 400, "message": mistake });
    json!({ "decision": false, "context": { "error": error } })
}
