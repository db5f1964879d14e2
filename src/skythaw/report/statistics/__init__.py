"""What can be concluded: depths against each other, networks against each other, the six claims."""
