;; Calls the node again from cabi_realloc, in the middle of the call that asked for memory.
(module
  (import "sonde:sensor/config@0.1.0" "get" (func $config (param i32 i32 i32)))
  (import "sonde:sensor/clock@0.1.0" "now" (func $now (result i64)))
  (memory (export "memory") 2)
  (data (i32.const 32) "k")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (drop (call $now)) (i32.const 4096))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (call $config (i32.const 32) (i32.const 1) (i32.const 256))
    (i32.const 64))
)
