;; Answers the node's question for memory with an address that it does not have.
(module
  (import "sonde:sensor/config@0.1.0" "get" (func $config (param i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 32) "k")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const -64))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (call $config (i32.const 32) (i32.const 1) (i32.const 256))
    (i32.const 64))
)
