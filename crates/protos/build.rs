//! Compiles the `.proto` files without `protoc`: protox parses them, tonic-prost-build writes the Rust code.
//!
//! Beside the code it leaves a file such as `core_engine.v1.bin` for each API in the output directory: the descriptor
//! set, imports included and comments removed, that a server hands out by reflection and that a gateway can load.

use std::path::Path;

use prost::Message;

/// Package and file of each API. They are compiled one by one, so that a server tells of its own API alone.
const APIS: &[(&str, &str)] = &[
    ("core_engine.v1", "core_engine/v1/core_engine.proto"),
    ("demo.auth.v1", "demo/auth/v1/auth.proto"),
    ("demo.marketdata.v1", "demo/marketdata/v1/market_data.proto"),
    ("demo.order.v1", "demo/order/v1/order.proto"),
    ("demo.position.v1", "demo/position/v1/position.proto"),
    ("demo.project.v1", "demo/project/v1/project.proto"),
    ("demo.simulation.v1", "demo/simulation/v1/simulation.proto"),
    ("demo.user.v1", "demo/user/v1/user.proto"),
    ("demo.wallet.v1", "demo/wallet/v1/wallet.proto"),
];
const ERRORS: &[&str] = &["google/rpc/status.proto", "google/rpc/error_details.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");

    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    for (package, file) in APIS {
        let mut set = compile(&[*file])?;
        generate(set.clone())?;
        for file in &mut set.file {
            file.source_code_info = None;
        }
        std::fs::write(Path::new(&out).join(format!("{package}.bin")), set.encode_to_vec())?;
    }

    generate(compile(ERRORS)?)?;
    Ok(())
}

/// Descriptors with comments, dependencies first.
fn compile(files: &[&str]) -> Result<prost_types::FileDescriptorSet, protox::Error> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(files)?;
    Ok(compiler.file_descriptor_set())
}

/// Writes one Rust file per package. Stubs stand behind the features of this crate, so that a client does not build a
/// server. Maps are sorted, because equal messages should have equal bytes.
fn generate(set: prost_types::FileDescriptorSet) -> std::io::Result<()> {
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .btree_map(".")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds(set)
}
