;; Attached to an honest sensor: fifty components, each inside the other and instantiated.
(component
  (component $c0
  (component $c1
  (component $c2
  (component $c3
  (component $c4
  (component $c5
  (component $c6
  (component $c7
  (component $c8
  (component $c9
  (component $c10
  (component $c11
  (component $c12
  (component $c13
  (component $c14
  (component $c15
  (component $c16
  (component $c17
  (component $c18
  (component $c19
  (component $c20
  (component $c21
  (component $c22
  (component $c23
  (component $c24
  (component $c25
  (component $c26
  (component $c27
  (component $c28
  (component $c29
  (component $c30
  (component $c31
  (component $c32
  (component $c33
  (component $c34
  (component $c35
  (component $c36
  (component $c37
  (component $c38
  (component $c39
  (component $c40
  (component $c41
  (component $c42
  (component $c43
  (component $c44
  (component $c45
  (component $c46
  (component $c47
  (component $c48
  (component $c49
  )
  (instance (instantiate $c49)))
  (instance (instantiate $c48)))
  (instance (instantiate $c47)))
  (instance (instantiate $c46)))
  (instance (instantiate $c45)))
  (instance (instantiate $c44)))
  (instance (instantiate $c43)))
  (instance (instantiate $c42)))
  (instance (instantiate $c41)))
  (instance (instantiate $c40)))
  (instance (instantiate $c39)))
  (instance (instantiate $c38)))
  (instance (instantiate $c37)))
  (instance (instantiate $c36)))
  (instance (instantiate $c35)))
  (instance (instantiate $c34)))
  (instance (instantiate $c33)))
  (instance (instantiate $c32)))
  (instance (instantiate $c31)))
  (instance (instantiate $c30)))
  (instance (instantiate $c29)))
  (instance (instantiate $c28)))
  (instance (instantiate $c27)))
  (instance (instantiate $c26)))
  (instance (instantiate $c25)))
  (instance (instantiate $c24)))
  (instance (instantiate $c23)))
  (instance (instantiate $c22)))
  (instance (instantiate $c21)))
  (instance (instantiate $c20)))
  (instance (instantiate $c19)))
  (instance (instantiate $c18)))
  (instance (instantiate $c17)))
  (instance (instantiate $c16)))
  (instance (instantiate $c15)))
  (instance (instantiate $c14)))
  (instance (instantiate $c13)))
  (instance (instantiate $c12)))
  (instance (instantiate $c11)))
  (instance (instantiate $c10)))
  (instance (instantiate $c9)))
  (instance (instantiate $c8)))
  (instance (instantiate $c7)))
  (instance (instantiate $c6)))
  (instance (instantiate $c5)))
  (instance (instantiate $c4)))
  (instance (instantiate $c3)))
  (instance (instantiate $c2)))
  (instance (instantiate $c1)))
  (instance (instantiate $c0)))
