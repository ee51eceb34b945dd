//! The project's own samples, and generated ones whose open maps are larger.

const FLAT: [&str; 4] = [
    include_str!("../../../../examples/intents/flat/cell-sim-1-up.json"),
    include_str!("../../../../examples/intents/flat/cell-sim-2-down.json"),
    include_str!("../../../../examples/intents/flat/every-field.json"),
    include_str!("../../../../examples/intents/flat/low-priority.json"),
];
const KUBERNETES: [&str; 4] = [
    include_str!("../../../../examples/intents/kubernetes/control-plane.json"),
    include_str!("../../../../examples/intents/kubernetes/firewall.json"),
    include_str!("../../../../examples/intents/kubernetes/gateway-down.json"),
    include_str!("../../../../examples/intents/kubernetes/gateway-up.json"),
];

pub fn all() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let bytes = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    vec![
        ("samples/flat", bytes(&FLAT)),
        ("samples/kubernetes", bytes(&KUBERNETES)),
        ("generated/2_functions", vec![generated(2)]),
        ("generated/20_functions", vec![generated(20)]),
        ("generated/200_functions", vec![generated(200)]),
    ]
}

/// An intent that deploys so many network functions, about 280 bytes for each.
fn generated(functions: usize) -> Vec<u8> {
    let one = |number: usize| {
        serde_json::json!({
            "name": format!("cu-control-{number}"),
            "image": format!("registry.example/ran/cu:{number}.2.1"),
            "interfaces": ["e1", "f1c", "xn"],
            "resources": { "cpu": "2", "memory": "4Gi", "hugepages": 1024, "share": 0.25 },
            "sla": { "availability": "99.99%", "latency": "2ms", "isolated": true },
            "note": "the \"second\" row\nof the rack",
        })
    };
    let functions: Vec<_> = (0..functions).map(one).collect();
    let body = serde_json::json!({
        "apiVersion": "nephoran.com/v1",
        "kind": "NetworkIntent",
        "metadata": { "name": "control-plane", "namespace": "oran-core", "labels": { "site": "17" } },
        "spec": {
            "action": "deploy",
            "target": { "type": "oran-cnf", "name": "cu-control", "namespace": "oran-work" },
            "parameters": { "networkFunctions": functions },
            "constraints": { "allowedNamespaces": ["oran-work"], "placement": { "zone": "edge-a" } },
        },
    });
    serde_json::to_vec(&body).expect("it is JSON")
}
