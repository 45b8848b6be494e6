#!/usr/bin/env bash
# Makes the stores of this folder anew, with the keytool of a JDK (17 made these) and openssl. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
rm -f -- *.jks *.p12 *.jceks

pass=(-storepass changeit)
san=(-ext "san=dns:localhost,ip:127.0.0.1")
days=(-startdate "2024/01/01" -validity 36500)
rsa=(-keyalg RSA -keysize 2048)
ec=(-keyalg EC -groupname secp256r1)

# make STORE TYPE ALIAS OPTION...: a key and its own signature under it.
make() {
    keytool -genkeypair -keystore "$1" -storetype "$2" -alias "$3" "${pass[@]}" "${days[@]}" "${@:4}"
}

# signed BY STORE OPTION...: the certificate of the key `server` in a store, signed by a key of this folder's CA.
signed() {
    keytool -certreq -alias server -keystore "$2" "${pass[@]}" |
        keytool -gencert -rfc -alias "$1" -keystore "$work/$1.p12" "${pass[@]}" "${@:3}"
}

make rsa.jks JKS server -dname CN=localhost "${rsa[@]}" "${san[@]}" -keypass changeit
make ec.jks JKS server -dname CN=localhost "${ec[@]}" "${san[@]}" -keypass changeit
make dsa.jks JKS server -dname CN=localhost -keyalg DSA -keysize 2048 -keypass changeit
make both.jks JKS a-ec -dname CN=localhost "${ec[@]}" "${san[@]}" -keypass changeit
make both.jks JKS b-rsa -dname CN=localhost "${rsa[@]}" "${san[@]}" -keypass changeit
make other_key_password.jks JKS server -dname CN=localhost "${ec[@]}" -keypass different
make ec.p12 PKCS12 server -dname CN=localhost -keyalg EC -groupname secp384r1 "${san[@]}"
make rsa_legacy.p12 PKCS12 server -dname CN=localhost "${rsa[@]}" "${san[@]}" -J-Dkeystore.pkcs12.legacy
# Java's own 200,000 rounds take their time in a build for tests; `secret.jceks` has them.
quick=(-J-Djdk.jceKeyProtector.iterationCount=10000)
make rsa.jceks JCEKS server -dname CN=localhost "${rsa[@]}" "${san[@]}" -keypass changeit "${quick[@]}"

# secret STORE TYPE ALIAS ALGORITHM BITS OPTION...: a secret key.
secret() {
    keytool -genseckey -keystore "$1" -storetype "$2" -alias "$3" -keyalg "$4" -keysize "$5" "${pass[@]}" "${@:6}"
}

secret secret.jceks JCEKS secret AES 128
secret secret.p12 PKCS12 secret AES 256
for bits in 128 192 256; do secret keys.jceks JCEKS "key-$bits" AES "$bits" -keypass changeit "${quick[@]}"; done
secret keys.jceks JCEKS Own-Password AES 256 -keypass different "${quick[@]}"
secret keys.jceks JCEKS des DESede 168 -keypass changeit "${quick[@]}"

# An authority, one below it, and servers whose certificates they sign.
authority=(-ext bc:c=ca:true -ext ku:c=keyCertSign)
make "$work/ca.p12" PKCS12 ca -dname "CN=Test CA" "${ec[@]}" "${authority[@]}"
keytool -exportcert -rfc -alias ca -keystore "$work/ca.p12" "${pass[@]}" >"$work/ca.pem"
make "$work/mid.p12" PKCS12 mid -dname "CN=Test Intermediate" "${ec[@]}"
keytool -certreq -alias mid -keystore "$work/mid.p12" "${pass[@]}" |
    keytool -gencert -rfc -alias ca -keystore "$work/ca.p12" "${pass[@]}" "${authority[@]}" "${days[@]}" >"$work/mid.pem"
cat "$work/mid.pem" "$work/ca.pem" >"$work/chain.pem"
keytool -importcert -noprompt -alias mid -file "$work/chain.pem" -keystore "$work/mid.p12" "${pass[@]}"

for kind in jks:JKS p12:PKCS12; do
    store="chain.${kind%:*}"
    make "$store" "${kind#*:}" server -dname CN=localhost "${ec[@]}" -keypass changeit
    signed mid "$store" "${days[@]}" "${san[@]}" >"$work/server.pem"
    cat "$work/server.pem" "$work/mid.pem" "$work/ca.pem" >"$work/chain.pem"
    keytool -importcert -noprompt -alias server -file "$work/chain.pem" -keystore "$store" "${pass[@]}"
    keytool -importcert -noprompt -alias ca -file "$work/ca.pem" -keystore "trust.${kind%:*}" -storetype "${kind#*:}" "${pass[@]}"
done

make expired.p12 PKCS12 server -dname CN=localhost "${ec[@]}"
signed ca expired.p12 -startdate 2020/01/01 -validity 1 "${san[@]}" >"$work/server.pem"
cat "$work/server.pem" "$work/ca.pem" >"$work/chain.pem"
keytool -importcert -noprompt -alias server -file "$work/chain.pem" -keystore expired.p12 "${pass[@]}"

# Trust stores that no password protects, and that Java would take for empty.
keytool -importcert -noprompt -alias ca -file "$work/ca.pem" -keystore trust_open.p12 -storetype PKCS12 "${pass[@]}" \
    -J-Dkeystore.pkcs12.macAlgorithm=NONE -J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE
openssl pkcs12 -export -nokeys -in "$work/ca.pem" -out trust_openssl.p12 -passout pass:changeit
