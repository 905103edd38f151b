//! The run itself: one thread, all connections on it.

use super::check::{Checker, Told};
use super::connection::{Answer, Connection, NoAnswer};
use super::schedule::Schedule;
use super::tally::Tally;
use super::till::{Operation, Till};
use super::{Plan, Server, Shape};
use crate::app::SystemEntropy;
use crate::http::management_v0::random_uuid;
use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;

/// How often a step that the server could not take now is tried again, and how long at most before each.
const TRIES_MAX: u32 = 20;
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What all connections of a run share.
struct Run {
    server: Server,
    tills: Vec<Till>,
    operations: &'static [Operation],
    schedule: Schedule,
    next_till: Cell<usize>,
    tally: RefCell<Tally>,
    told: Option<Told>,
    is_open: bool,
}

const fn operations(shape: Shape) -> &'static [Operation] {
    match shape {
        Shape::StartFinish => &[Operation::Start, Operation::Finish],
        Shape::StartUpdateFinish => &[Operation::Start, Operation::Update, Operation::Finish],
    }
}

/// Loads the server for as long as the plan says.
pub(super) fn run(plan: Plan, checker: Option<&Checker>) -> anyhow::Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the network of this machine cannot be used")?;
    let told = checker.map(Checker::told);
    LocalSet::new().block_on(&runtime, load(plan, told))
}

async fn load(plan: Plan, told: Option<Told>) -> anyhow::Result<Tally> {
    let mut connections = Vec::with_capacity(plan.connections);
    for _ in 0..plan.connections {
        let mut connection = Connection::new(&plan.server.authority);
        let opened = connection.open().await.is_ok();
        anyhow::ensure!(opened, "{} takes no connection", plan.server.authority);
        connections.push(connection);
    }
    let operations = operations(plan.shape);
    let cpu_before = cpu_time();
    let run = Rc::new(Run {
        server: plan.server,
        tills: plan.tills,
        operations,
        tally: RefCell::new(Tally::new(operations)?),
        next_till: Cell::new(0),
        told,
        is_open: plan.rate.is_some(),
        schedule: Schedule::start(plan.rate, plan.duration)?,
    });
    let tasks: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::task::spawn_local(serve(Rc::clone(&run), connection)))
        .collect();
    for task in tasks {
        task.await.context("a connection ended in a panic")?;
    }
    let took = run.schedule.elapsed();
    let run = Rc::into_inner(run).context("a connection has not ended")?;
    let mut tally = run.tally.into_inner();
    tally.failed("NOT_STARTED", run.schedule.not_started());
    let cpu = cpu_time().saturating_sub(cpu_before);
    tally.own_cores = (cpu.as_secs_f64() / took.as_secs_f64() * 100.0).round() / 100.0;
    Ok(tally)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The life of one connection.
async fn serve(run: Rc<Run>, mut connection: Connection) {
    let mut request = Vec::with_capacity(2048);
    while let Some(begins) = run.schedule.next().await {
        let at = run.next_till.get();
        run.next_till.set(at.wrapping_add(1));
        let Some(till) = run.tills.get(at % run.tills.len().max(1)) else {
            return;
        };
        transaction(&run, &mut connection, &mut request, till, begins).await;
    }
}

/// All steps of one transaction; it is given up at the first that fails for good.
async fn transaction(
    run: &Run,
    connection: &mut Connection,
    request: &mut Vec<u8>,
    till: &Till,
    begins: Duration,
) {
    let id = random_uuid(&SystemEntropy).to_string();
    // Only the start has a fixed time; a till goes on when it has its answer.
    let mut begins = begins;
    for (revision, operation) in (1..).zip(run.operations.iter().copied()) {
        till.write_request(request, &run.server, &id, revision, operation);
        let mut tries = 0;
        loop {
            let answer = connection.call(request).await;
            let now = run.schedule.elapsed();
            let pause = match &answer {
                Ok(answer) if answer.status == 200 => {
                    let in_time = !run.schedule.is_over();
                    let latency = now.saturating_sub(begins);
                    run.tally.borrow_mut().signed(operation, latency, in_time);
                    if let Some(told) = &run.told {
                        told.tell(till, operation, &id, revision, connection.body(answer));
                    }
                    begins = now;
                    break;
                }
                Ok(answer) => {
                    let code = code(answer, connection.body(answer));
                    run.tally.borrow_mut().failed(&code, 1);
                    answer.retry_after_s.map(Duration::from_secs)
                }
                Err(no_answer) => {
                    let code = match no_answer {
                        NoAnswer::Connection => "CONNECTION",
                        NoAnswer::Timeout => "TIMEOUT",
                    };
                    run.tally.borrow_mut().failed(code, 1);
                    Some(PAUSE_MAX)
                }
            };
            tries += 1;
            if !tries_again(run, operation, pause, tries).await {
                return;
            }
        }
    }
}

/// Waits as the server says, if the step is worth another try: a started transaction is ended by its
/// till, a start that was refused is only a customer who has gone elsewhere. The latency goes on counting.
async fn tries_again(run: &Run, operation: Operation, pause: Option<Duration>, tries: u32) -> bool {
    let Some(pause) = pause else {
        return false;
    };
    let is_start = operation == Operation::Start;
    // Connections of a closed loop would otherwise ask without end.
    if !(is_start && run.is_open) {
        tokio::time::sleep(pause.min(PAUSE_MAX)).await;
    }
    !is_start && tries < TRIES_MAX
}

/// Its code, or its status where it has none.
fn code(answer: &Answer, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.code,
        Err(_) => format!("HTTP_{}", answer.status),
    }
}
