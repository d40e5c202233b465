;; Asks for all statistics for ever.
(module
  (import "sonde:sensor/kstats@0.1.0" "read" (func $kstats (param i32 i32 i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $heap
    (global.set $heap
      (i32.and (i32.add (i32.add (global.get $heap) (local.get 3)) (i32.const 15)) (i32.const -16))))
  ;; dynamic
  (data (i32.const 16) "\01")
  (func (export "describe") (result i32) (i32.const 16))
  (func (export "collect") (result i32)
    (loop $again (call $kstats (i32.const 0) (i32.const 0) (i32.const 256)) (global.set $heap (i32.const 4096)) (br $again))
    unreachable)
)
