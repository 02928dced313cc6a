# Tegata's image: one static program, which `make image` builds and puts beside this file's context,
# and the certificate authorities that the building machine trusts. No shell, no package, no other user.
FROM scratch
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="tegata" \
      org.opencontainers.image.description="Admits container images to Kubernetes only when their Sigstore signatures satisfy policy" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /LICENSE
COPY tegata /tegata
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/tegata"]
CMD ["help"]
