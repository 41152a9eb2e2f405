// Streams a reply, leaves another one early and reads a typed error, with the bare stub: stream PROMPT
use std::io::Write;

use tonic::Status;
use tonic_types::StatusExt;

mod connect;
use connect::Connection;

#[allow(dead_code)]
mod headwater {
    tonic::include_proto!("headwater.v1");
}
use headwater::{AgentConfig, RunRequest, StreamRequest, agent_service_client::AgentServiceClient};

async fn stream(agents: &mut AgentServiceClient<Connection>, request: StreamRequest) -> Result<(), Status> {
    let mut chunks = agents.stream(request).await?.into_inner();
    while let Some(chunk) = chunks.message().await? {
        print!("{}", chunk.content);
        std::io::stdout().flush().expect("stdout");
    }
    println!();
    Ok(())
}

async fn leave(agents: &mut AgentServiceClient<Connection>, request: StreamRequest) -> Result<(), Status> {
    let mut chunks = agents.stream(request).await?.into_inner();
    if let Some(chunk) = chunks.message().await? {
        println!("Left after: {}", chunk.content);
    }
    drop(chunks); // cancels the call; while it is held, the server writes on
    Ok(())
}

async fn read_error(agents: &mut AgentServiceClient<Connection>, prompt: String) {
    let agent = AgentConfig { temperature: Some(9.0), ..Default::default() };
    let request = RunRequest { prompt, agent: Some(agent), ..Default::default() };
    let Err(status) = agents.run(request).await else { return };
    if let Some(info) = status.get_details_error_info() {
        println!("{} {}", info.reason, info.domain);
    }
    for violation in status.get_details_bad_request().iter().flat_map(|bad| &bad.field_violations) {
        println!("{}: {}", violation.field, violation.description);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut agents = AgentServiceClient::new(connect::from_environment().await?);
    let prompt = std::env::args().nth(1).ok_or("usage: stream PROMPT")?;
    let request = StreamRequest { prompt: prompt.clone(), ..Default::default() };
    stream(&mut agents, request.clone()).await?;
    leave(&mut agents, request).await?;
    read_error(&mut agents, prompt).await;
    Ok(())
}
