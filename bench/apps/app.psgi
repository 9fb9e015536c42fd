# Reads what it is sent and answers three bytes.
my $app = sub {
    my $env = shift;
    $env->{'psgi.input'}->read(my $body, $env->{CONTENT_LENGTH} || 0);
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => 3], ["ok\n"]];
};
