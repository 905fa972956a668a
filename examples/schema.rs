//! Prints the JSON Schema of the mesh file; `docs/mesh.schema.json` is its output.

#[expect(clippy::print_stdout, reason = "an example prints")]
fn main() {
    println!("{}", tower_mesh::config::schema());
}
