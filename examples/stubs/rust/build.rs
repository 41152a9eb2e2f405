fn main() -> std::io::Result<()> {
    let services = ["agent", "workflow", "worker"].map(|name| format!("headwater/v1/{name}_service.proto"));
    tonic_prost_build::configure().compile_protos(&services, &["../headwater/protos".into()])
}
