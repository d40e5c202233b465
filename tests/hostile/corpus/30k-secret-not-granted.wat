;; Asks for a secret that its manifest does not name, and says how it went: 0 is that there is none.
(module
  (import "sonde:sensor/secrets@0.1.0" "get" (func $secret (param i32 i32 i32)))
  (import "sonde:sensor/state@0.1.0" "store" (func $store (param i32 i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 32) "other")
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; What it saw, left as its state.
  (func $found (param i64)
    (i64.store (i32.const 128) (local.get 0))
    (drop (call $store (i32.const 128) (i32.const 8))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (call $secret (i32.const 32) (i32.const 5) (i32.const 256))
    (call $found (i64.load8_u (i32.const 256)))
    (i32.const 64))
)
